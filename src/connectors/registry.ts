import type { SourceConfig } from "../config/schema.ts";
import type { Connector } from "../contract/page.ts";
import type { ConnectorContext, ConnectorKind } from "./connector.ts";
import { fileKind } from "./file.ts";
import { pushKind } from "./http_push.ts";

/** Every kind of connector, by the word of the config. */
export const connectorKinds = {
  file: fileKind,
  http_push: pushKind,
} as const satisfies Readonly<Record<SourceConfig["connector"], unknown>>;

/** The connector of a configured source, not yet open. Throws where its part of the config makes no sense. */
export function createConnector(name: string, config: SourceConfig, context: ConnectorContext): Connector {
  return kindOf(config).create(name, config, context);
}

/** Whether the source comes to an end. */
export const isFiniteSource = (config: SourceConfig): boolean => kindOf(config).finite;

const kindOf = ({ connector }: SourceConfig) => connectorKinds[connector] as unknown as ConnectorKind;
