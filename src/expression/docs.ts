import { signature } from "./library/call.ts";
import { LIBRARY } from "./library/library.ts";

/** One function of the library, for documentation. */
export interface FunctionDoc {
  readonly name: string;
  readonly group: string;
  readonly doc: string;
  readonly example: string;
  readonly forms: readonly { readonly signature: string; readonly gives: string; readonly nulls: string }[];
}

/** The function library as data: the README's table and `mlpe` help are made of it. */
export function functionDocs(): FunctionDoc[] {
  return LIBRARY.map((entry) => ({
    name: entry.name,
    group: entry.group,
    doc: entry.doc,
    example: entry.example,
    forms: entry.forms.map((form) => ({
      signature: signature(entry, form),
      gives: form.gives,
      nulls: form.nulls ?? "null where an argument is",
    })),
  }));
}
