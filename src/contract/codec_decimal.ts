/** More places than prices, coordinates and most measurements have. */
export const DECIMALS_MAX = 7;
const SAMPLE = 32;

/**
 * The doubles as whole numbers that give exactly the same bits when they are divided by 10 to the power of `places`: what
 * was written in decimals needs two to four bytes so, and not eight. Undefined where there are no few places that do.
 * Division rounds correctly, so the result is the same everywhere.
 */
export function decimalsOf(values: Float64Array): { places: number; wholes: Float64Array } | undefined {
  for (let places = 1; places <= DECIMALS_MAX; places++) {
    const scale = 10 ** places;
    const end = Math.min(SAMPLE, values.length);
    let i = 0;
    while (i < end && isDecimal(values[i]!, scale)) i++;
    if (i < end) continue;
    const wholes = scaled(values, scale);
    if (wholes) return { places, wholes };
  }
  return undefined;
}

function scaled(values: Float64Array, scale: number): Float64Array | undefined {
  const wholes = new Float64Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (!isDecimal(value, scale)) return undefined;
    wholes[i] = Math.round(value * scale);
  }
  return wholes;
}

function isDecimal(value: number, scale: number): boolean {
  const whole = Math.round(value * scale);
  return whole / scale === value && Math.abs(whole) <= Number.MAX_SAFE_INTEGER && !(value === 0 && 1 / value < 0);
}
