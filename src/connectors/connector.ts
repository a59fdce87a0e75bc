import type { Clock } from "../base/clock.ts";
import type { SourceConfig } from "../config/schema.ts";
import type { Contract } from "../contract/contract.ts";
import type { Connector } from "../contract/page.ts";

/** What a typed input (Parquet) is checked against before its first row. */
export interface Expectation {
  readonly contract: Contract;
  /** Contract field -> name in the source, where they differ. */
  readonly rename?: Readonly<Record<string, string>>;
  /** Fields that expressions set: the input need not have them. */
  readonly computed: readonly string[];
}

/** What a connector is made with, beside its part of the config. */
export interface ConnectorContext {
  readonly clock: Clock;
  /** The absolute path of a path in the config. */
  resolve(path: string): string;
  /** How a person is told of an absolute path, and how it is remembered: as the config has it. Default: as it is. */
  readonly shown?: (path: string) => string;
  /** Hears what is no failure and should still not go unsaid. */
  readonly tell?: (message: string, facts: object) => void;
  /** The datasets the source feeds. */
  readonly expectations: readonly Expectation[];
}

/** One kind of connector: the registry holds one of these for each. Making one does no I/O; opening it does. */
export interface ConnectorKind<Config extends SourceConfig = SourceConfig> {
  readonly connector: Config["connector"];
  /** One line for `mlpe doctor` and the docs. */
  readonly description: string;
  /** Its sources come to an end; until then they hold back the watermarks of their datasets. */
  readonly finite: boolean;
  create(name: string, config: Config, context: ConnectorContext): Connector;
}
