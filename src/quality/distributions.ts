/** Tail probabilities that the drift tests need. */

/**
 * P(K > lambda) for Kolmogorov's limiting distribution: 2 sum_{k>=1} (-1)^(k-1) exp(-2 k^2 lambda^2); for small lambda the
 * equivalent theta series, which converges there (Kolmogorov 1933; Marsaglia, Tsang and Wang 2003, section 1).
 */
export function kolmogorovTail(lambda: number): number {
  if (lambda <= 0) return 1;
  if (lambda < 1) {
    let sum = 0;
    for (let k = 1; k <= 20; k++) sum += Math.exp(-((2 * k - 1) ** 2 * Math.PI ** 2) / (8 * lambda * lambda));
    return Math.min(1, Math.max(0, 1 - (Math.sqrt(2 * Math.PI) / lambda) * sum));
  }
  let sum = 0;
  for (let k = 1; k <= 20; k++) {
    const term = Math.exp(-2 * k * k * lambda * lambda);
    sum += k % 2 === 1 ? term : -term;
  }
  return Math.min(1, Math.max(0, 2 * sum));
}

/** P(X > x) for a chi-squared variable: the regularised upper incomplete gamma function Q(degrees / 2, x / 2). */
export function chiSquaredTail(x: number, degrees: number): number {
  if (degrees <= 0) return x > 0 ? 0 : 1;
  if (x <= 0) return 1;
  const a = degrees / 2;
  const z = x / 2;
  const front = Math.exp(a * Math.log(z) - z - logGamma(a));
  return z < a + 1 ? 1 - front * lowerSeries(a, z) : front * upperFraction(a, z);
}

/** sum_{n>=0} z^n / (a (a+1) ... (a+n)); DLMF 8.7.1. */
function lowerSeries(a: number, z: number): number {
  let term = 1 / a;
  let sum = term;
  for (let n = 1; n < 1000 && term > sum * 1e-17; n++) {
    term *= z / (a + n);
    sum += term;
  }
  return sum;
}

/** The continued fraction of the upper function, from the bottom up; DLMF 8.9.2. */
function upperFraction(a: number, z: number): number {
  let tail = 0;
  for (let n = 500; n >= 1; n--) tail = (n * (n - a)) / (z + 2 * n + 1 - a - tail);
  return 1 / (z + 1 - a - tail);
}

/** ln Gamma(a) for a > 0: Stirling's series (DLMF 5.11.1) after shifting the argument above 10. */
function logGamma(a: number): number {
  let shift = 0;
  let x = a;
  for (; x < 10; x++) shift += Math.log(x);
  const inverse = 1 / (x * x);
  const series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse / 1680))) / x;
  return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + series - shift;
}
