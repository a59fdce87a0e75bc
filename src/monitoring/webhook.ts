import { formatInstant } from "../base/time.ts";
import { describeAlert, type Notification } from "./alerts.ts";

/** Sends a JSON body. Throws, or answers any status, when it did not arrive. */
export type Send = (body: string) => Promise<{ readonly status: number }>;

export interface Delivery {
  readonly delivered: boolean;
  readonly attempts: number;
  readonly failure?: string;
}

export interface DeliverOptions {
  readonly send: Send;
  /** Waits so many milliseconds. */
  readonly sleep: (milliseconds: number) => Promise<void>;
  readonly site: string;
  /** Default 5. Afterwards the notification is given up: the alert's row in the verdict stream stays. */
  readonly attempts?: number;
}

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;

/**
 * Sends one notification, again after 0.5 s, 1 s, 2 s, ... where it did not arrive. A status from 400 to 499 other than
 * 408 and 429 is final: the receiver understood and refused.
 */
export async function deliverAlert(notification: Notification, options: DeliverOptions): Promise<Delivery> {
  const { send, sleep, site, attempts = 5 } = options;
  const body = JSON.stringify(alertBody(notification, site));
  let failure = "";
  for (let attempt = 1; attempt <= attempts; attempt++) {
    if (attempt > 1) await sleep(Math.min(FIRST_WAIT_MS * 2 ** (attempt - 2), LONGEST_WAIT_MS));
    try {
      const { status } = await send(body);
      if (status >= 200 && status < 300) return { delivered: true, attempts: attempt };
      failure = `the receiver answered ${status}`;
      if (status >= 400 && status < 500 && status !== 408 && status !== 429) {
        return { delivered: false, attempts: attempt, failure };
      }
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
    }
  }
  return { delivered: false, attempts, failure };
}

/** The body that Alertmanager's webhooks send (version 4), which most receivers of alerts read. */
function alertBody(told: Notification, site: string): Readonly<Record<string, unknown>> {
  const labels = { alertname: told.alert, severity: told.severity, site };
  const annotations = { summary: describeAlert(told) };
  return {
    version: "4",
    groupKey: `{}:{alertname="${told.alert}"}`,
    truncatedAlerts: 0,
    status: told.status,
    receiver: told.to ?? "",
    groupLabels: { alertname: told.alert },
    commonLabels: labels,
    commonAnnotations: annotations,
    externalURL: "",
    alerts: [
      {
        status: told.status,
        labels,
        annotations,
        startsAt: formatInstant(told.startsAt),
        endsAt: told.endsAt === undefined ? "0001-01-01T00:00:00Z" : formatInstant(told.endsAt),
        generatorURL: "",
        fingerprint: `${site}:${told.alert}`,
      },
    ],
  };
}
