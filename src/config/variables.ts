export type Environment = Readonly<Record<string, string | undefined>>;

export interface Expanded {
  readonly text: string;
  /** Variables whose values are now in the text: nothing that contains them is printed. */
  readonly used: readonly string[];
  /** Variables that are not set and have no default. */
  readonly missing: readonly string[];
  /** The `${...}` that are no variable, as written. */
  readonly broken: readonly string[];
}

const REFERENCE = /\$\$\{|\$\{([^}]*)(\}?)/g;
const INSIDE = /^([A-Za-z_][A-Za-z0-9_]*)(?::-([\s\S]*))?$/;

/**
 * `${NAME}` and `${NAME:-default}` in one scalar; the default stands in where the variable is unset or empty, as in a
 * shell. What was put in is not looked at again. `$${` is a literal `${`.
 */
export function expandVariables(text: string, environment: Environment): Expanded {
  const used: string[] = [];
  const missing: string[] = [];
  const broken: string[] = [];
  const expanded = text.replace(REFERENCE, (whole, inside: string | undefined, close: string | undefined) => {
    if (inside === undefined) return "${";
    const match = close === "}" ? INSIDE.exec(inside) : null;
    if (!match) {
      broken.push(whole);
      return whole;
    }
    const [, name, fallback] = match;
    const value = Object.hasOwn(environment, name!) ? environment[name!] : undefined;
    if (value !== undefined && (value !== "" || fallback === undefined)) {
      used.push(name!);
      return value;
    }
    if (fallback === undefined) missing.push(name!);
    return fallback ?? "";
  });
  return { text: expanded, used, missing, broken };
}
