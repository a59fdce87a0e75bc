import type { Desk } from "../support/world.ts";

/** One thing a user gets wrong on the command line, in a file or in an answer, and what MLPE must say. */
export interface Case {
  readonly name: string;
  /** Spoils a good project. */
  readonly spoil?: (desk: Desk) => void | Promise<void>;
  readonly run: readonly string[];
  readonly exit: number;
  readonly code: string;
  /** What the printed problem must name: the place, and where it helps the thing. */
  readonly says: readonly string[];
}

export const configCase = (name: string, config: string, code: string, ...says: readonly string[]): Case => ({
  name,
  spoil: (desk) => desk.write("mlpe.yaml", config),
  run: ["validate"],
  exit: code.startsWith("config.") ? 78 : 65,
  code,
  says,
});
