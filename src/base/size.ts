const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  kB: 1e3,
  KiB: 1024,
  MB: 1e6,
  MiB: 1024 ** 2,
  GB: 1e9,
  GiB: 1024 ** 3,
  TB: 1e12,
  TiB: 1024 ** 4,
};

/** Bytes of a text like `512MiB`, `2GB` or `4096`; undefined where it is none, or no safe whole number. */
export function parseBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?) ?([A-Za-z]*)$/.exec(text.trim());
  const unit = match && Object.hasOwn(UNITS, match[2]!) ? UNITS[match[2]!] : undefined;
  if (!match || unit === undefined) return undefined;
  const bytes = Math.round(Number(match[1]) * unit);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

const SHOWN = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** `3.2 GiB`: for people. */
export function showBytes(bytes: number): string {
  let [value, unit] = [bytes, 0];
  while (Math.abs(value) >= 1024 && unit < SHOWN.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${SHOWN[unit]}`;
}
