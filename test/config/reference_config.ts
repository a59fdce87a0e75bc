/** The whole shape of a config, on the problem of the example project. */
export const REFERENCE_CONFIG = `# The shape of a whole config, on the demo's problem. Paths are relative to this file. Durations: 90s, 3h, 7d.
site: ewr-01
environment: dev
keys: { provider: file, path: "\${MLPE_KEY_FILE:-~/.mlpe/ewr-01.key}" }   # never inside the data directory

sources:
  flights:
    connector: file
    path: data/flights.csv.zst
    routes:                                  # each row is offered to every route; one ledger line per route
      schedule: {}
      departures: { where: dep_delay is not null, otherwise: drop }        # dropped(not_departed)
  weather:  { connector: file, path: data/weather.csv.zst,  dataset: weather }
  planes:   { connector: file, path: data/planes.csv.zst,   dataset: planes }
  airports: { connector: file, path: data/airports.csv.zst, dataset: airports }

datasets:                                    # set: SQL normalisers, before the contract is checked
  schedule:
    contract: ../../schemas/nycflights/schedule.avsc     # eventTime scheduled; recordId [carrier, flight, scheduled]
    set: { scheduled: "time_hour + minutes(minute)" }    # time_hour is already UTC: no DST guess
  departures:
    contract: ../../schemas/nycflights/departures.avsc   # eventTime departed; same recordId
    set: { scheduled: "time_hour + minutes(minute)", departed: "time_hour + minutes(minute + dep_delay)" }
  weather:
    contract: ../../schemas/nycflights/weather.avsc      # eventTime time_hour; recordId [origin, time_hour]
    available: "time_hour + minutes(51)"                 # the row holds observations up to :51 of its hour
  planes:   { contract: ../../schemas/nycflights/planes.avsc,   static: true }
  airports: { contract: ../../schemas/nycflights/airports.avsc, static: true }

views:
  flight_delay:
    spine: schedule
    as_of: scheduled - hours(1)              # asked one hour before; T in history; a request's T is its \`at\`, default now
    joins:                                   # by: [same name] or { spine column: their column }
      weather: { from: weather,  by: [origin], max_age: 3h }
      plane:   { from: planes,   by: [tailnum] }
      dest:    { from: airports, by: { dest: faa } }
    windows:                                 # (T - window, T] of available rows of \`from\`
      origin_1h:  { from: departures, by: [origin],  window: 1h, values: { delay: avg(dep_delay), n: count(*) } }
      origin_3h:  { from: departures, by: [origin],  window: 3h, values: { delay: avg(dep_delay), n: count(*) } }
      carrier_6h: { from: departures, by: [carrier], window: 6h, values: { delay: avg(dep_delay), n: count(*) } }
    features:                                # ordered and typed; SQL over spine columns and alias.column
      hour: hour(scheduled, 'America/New_York')
      weekday: weekday(scheduled, 'America/New_York')
      month: month(scheduled, 'America/New_York')
      carrier: carrier
      distance: distance
      wind: weather.wind_speed
      visib: weather.visib
      precip: weather.precip
      weather_age_h: age_hours(weather)
      plane_age: year(scheduled, 'America/New_York') - plane.year
      seats: plane.seats
      dest_alt: dest.alt
      origin_delay_1h: origin_1h.delay
      origin_count_1h: origin_1h.n
      origin_delay_3h: origin_3h.delay
      origin_trend: origin_1h.delay - origin_3h.delay
      carrier_delay_6h: carrier_6h.delay
    label:                                   # never an input; null until available; cancelled flights stay null
      late: { from: departures, by: [carrier, flight, scheduled], value: dep_delay > 15 }

models:
  flight_delay:
    artifact: ../../models/flight_delay      # model.json inside: inputs, nulls, golden, reference
    guardrails:
      no_weather: { when: wind is null and visib is null, then: flag }
      absurd:     { when: distance <= 0 or distance > 6000, then: block }

checks:
  schedule:
    - { expect_column_values_to_be_in_set: { column: origin, value_set: [EWR, JFK, LGA] }, severity: block }
    - { expect_column_values_to_not_be_null: { column: tailnum, mostly: 0.98 }, severity: warn }
drift: { flight_delay: { every: 1d, min_rows: 500, metrics: [psi, ks] } }
schedules: { hourly: { cron: "5 * * * *", score: flight_delay } }
alerts: { drifted: { when: "drift_verdict = 'drift'", for: 10m, severity: warn, to: ops } }
notify: { ops: { webhook: "\${MLPE_WEBHOOK:-}" } }
lineage: { openlineage: "\${OPENLINEAGE_URL:-}" }
`;
