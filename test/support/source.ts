/** Just enough reading of TypeScript for the house rules: no parser is needed to find imports, calls and lengths. */

/** A tree of files in memory: path from the repository's root -> text. */
export type Tree = ReadonlyMap<string, string>;

export interface Masked {
  /** The text with comments blanked; strings are kept. Same length and lines as the text. */
  readonly withoutComments: string;
  /** The text with comments and the insides of strings, templates and regular expressions blanked. */
  readonly bare: string;
}

const WORD_BEFORE_REGEX = /(?:^|[^\w$.])(?:return|typeof|case|in|of|do|else|void|throw|yield|await|new)\s*$/;

/** Whether a slash after this text starts a regular expression rather than divides. */
function regexMayStart(before: string): boolean {
  const trimmed = before.trimEnd();
  if (trimmed === "") return true;
  if (/[\w$)\]}"'`]$/.test(trimmed)) return WORD_BEFORE_REGEX.test(trimmed);
  return true;
}

/** Masks comments and strings of TypeScript. */
export function mask(text: string): Masked {
  const bare: string[] = [];
  const kept: string[] = [];
  /** Depth of braces at each `${` of a template that is open. */
  const templates: number[] = [];
  let braces = 0;
  let at = 0;
  const blank = (part: string) => part.replace(/[^\n]/g, " ");
  const put = (part: string, inBare: string, inKept: string = part) => {
    bare.push(inBare);
    kept.push(inKept);
    at += part.length;
  };
  const recent = () => bare.slice(-40).join("").slice(-40);
  const template = () => {
    const match = /^(?:[^`\\$]|\\[\s\S]|\$(?!\{))*(?:`|\$\{|$)/.exec(text.slice(at))![0];
    if (match.endsWith("${")) templates.push(braces);
    put(match, match.endsWith("`") ? `${blank(match.slice(0, -1))}\`` : blank(match));
  };
  while (at < text.length) {
    const rest = text.slice(at, at + 2);
    const character = rest[0]!;
    if (rest === "//" || rest === "/*") {
      const end = rest === "//" ? text.indexOf("\n", at) : text.indexOf("*/", at + 2) + 2;
      const comment = text.slice(at, end < at ? text.length : end);
      put(comment, blank(comment), blank(comment));
    } else if (character === '"' || character === "'") {
      const literal = (character === '"' ? /^"(?:[^"\\\n]|\\[\s\S])*"?/ : /^'(?:[^'\\\n]|\\[\s\S])*'?/).exec(
        text.slice(at),
      )![0];
      put(literal, `${character}${blank(literal.slice(1, -1))}${literal.length > 1 ? character : ""}`);
    } else if (character === "`") {
      put("`", "`");
      template();
    } else if (character === "}" && templates.at(-1) === braces) {
      templates.pop();
      put("}", " ");
      template();
    } else if (character === "/" && regexMayStart(recent())) {
      const literal = /^\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/.exec(text.slice(at))?.[0] ?? "/";
      put(literal, blank(literal));
    } else {
      if (character === "{") braces++;
      if (character === "}") braces--;
      put(character, character);
    }
  }
  return { bare: bare.join(""), withoutComments: kept.join("") };
}

export const lineOf = (text: string, index: number): number => text.slice(0, index).split("\n").length;

/** What a file imports, exports from, or names with `new URL(...)`: specifiers as written. */
export function importsOf(text: string): string[] {
  const { withoutComments } = mask(text);
  const found: string[] = [];
  const patterns = [
    /(?:^|[\n;])\s*(?:import|export)\b[^"'`;]*?\bfrom\s*"([^"\n]+)"/g,
    /(?:^|[\n;])\s*import\s*"([^"\n]+)"/g,
    /\bimport\(\s*"([^"\n]+)"/g,
    /\bnew URL\(\s*"([^"\n]+)"/g,
  ];
  for (const pattern of patterns) for (const match of withoutComments.matchAll(pattern)) found.push(match[1]!);
  return found;
}

/** The path a relative specifier means, from the repository's root; undefined for packages. */
export function resolveImport(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  const parts = from.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

export interface FunctionSpan {
  readonly line: number;
  readonly lines: number;
}

const PAIRS: Readonly<Record<string, string>> = { "(": ")", "{": "}", "[": "]" };

/** Index after the bracket that closes the one at `open`. */
function closeOf(bare: string, open: number): number {
  const closing = PAIRS[bare[open]!]!;
  let depth = 0;
  for (let at = open; at < bare.length; at++) {
    if (bare[at] === bare[open]) depth++;
    else if (bare[at] === closing && --depth === 0) return at + 1;
  }
  return bare.length;
}

/** Index of the brace that opens the body after a parameter list, past a return type; -1 where there is no body. */
function bodyAfter(bare: string, afterParameters: number): number {
  let at = afterParameters;
  let typeExpected = false;
  for (; at < bare.length; at++) {
    const character = bare[at]!;
    if (/\s/.test(character)) continue;
    if (character === ":" || character === "|" || character === "&") typeExpected = true;
    else if (character === "{" && !typeExpected) return at;
    else if (character === "{" || character === "(" || character === "[") {
      at = closeOf(bare, at) - 1;
      typeExpected = false;
    } else if (character === "<") {
      typeExpected = false;
      for (let depth = 0; at < bare.length; at++) {
        if (bare[at] === "<") depth++;
        else if (bare[at] === ">" && bare[at - 1] !== "=" && --depth === 0) break;
      }
    } else if (/[\w$.]/.test(character)) {
      if (at === afterParameters || !/[:|&.\w$\s>]/.test(bare[at - 1]!)) return -1;
      typeExpected = false;
    } else return -1;
  }
  return -1;
}

const NOT_METHODS = "if|for|while|switch|catch|return|function|await|new|throw|typeof|with|else|do";

/** Every function with a body in braces, with its length in lines. */
export function functionsOf(text: string): FunctionSpan[] {
  const { bare } = mask(text);
  const spans: FunctionSpan[] = [];
  const add = (start: number, body: number) => {
    if (body < 0) return;
    const line = lineOf(bare, start);
    spans.push({ line, lines: lineOf(bare, closeOf(bare, body) - 1) - line + 1 });
  };
  for (const match of bare.matchAll(/\bfunction\b\s*\*?\s*[\w$]*\s*(?:<[^(]*>)?\s*\(/g)) {
    add(match.index, bodyAfter(bare, closeOf(bare, match.index + match[0].length - 1)));
  }
  const method = new RegExp(
    `^[ \\t]+(?:(?:async|static|get|set|override)\\s+)*\\*?\\s*#?(?!(?:${NOT_METHODS})\\b)[\\w$]+\\s*\\(`,
    "gm",
  );
  for (const match of bare.matchAll(method)) {
    const after = closeOf(bare, match.index + match[0].length - 1);
    add(match.index + match[0].search(/\S/), bodyAfter(bare, after));
  }
  for (const match of bare.matchAll(/=>\s*\{/g)) add(match.index, match.index + match[0].length - 1);
  return spans;
}
