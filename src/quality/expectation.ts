import type { z } from "zod";
import type { Contract } from "../contract/contract.ts";
import type { Evaluate } from "./result.ts";

/** One entry of the registry: the arguments it takes, and how they become a test of rows. */
export interface Expectation {
  readonly args: z.ZodObject;
  /** Throws ArgumentFault where the arguments do not fit the contract. */
  plan(args: Readonly<Record<string, unknown>>, contract: Contract): Evaluate;
}

/** Binds the type of the arguments to their schema. */
export function expectation<Args extends z.ZodObject>(
  args: Args,
  plan: (args: z.output<Args>, contract: Contract) => Evaluate,
): Expectation {
  return { args, plan: (given, contract) => plan(given as z.output<Args>, contract) };
}
