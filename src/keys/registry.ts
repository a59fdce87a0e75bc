import type { Random } from "../base/random.ts";
import type { Micros } from "../base/time.ts";
import { keyErrors } from "./errors.ts";
import { fileKeyProvider } from "./file_provider.ts";
import type { KeyProvider } from "./provider.ts";

/** Plain data, so that every thread can make its own provider from it. */
export interface KeySettings {
  readonly provider: string;
  readonly path: string;
  /** How long one key of a stream is used. Default 30 days. */
  readonly period?: Micros;
}

type MakeProvider = (settings: KeySettings, dataDirectory: string, create: boolean, random: Random) => KeyProvider;

/** Every key provider: one line each. */
const keyProviders: Readonly<Record<string, MakeProvider>> = {
  file: ({ path }, dataDirectory, create, random) => fileKeyProvider({ path, dataDirectory, create }, random),
};

/** The provider the settings name; `create` allows it to make a key where there is none. */
export function keyProvider(
  settings: KeySettings,
  dataDirectory: string,
  create: boolean,
  random: Random,
): KeyProvider {
  const make = Object.hasOwn(keyProviders, settings.provider) ? keyProviders[settings.provider] : undefined;
  if (make) return make(settings, dataDirectory, create, random);
  const known = Object.keys(keyProviders).join(", ");
  throw keyErrors.error("unknown_provider", `"${settings.provider}" is no key provider; there is ${known}`);
}
