/** What the HTTP faces need from the runtime. Bodies arrive as text: each service parses with its own limits. */
export interface Services {
  readonly site: string;
  readonly version: string;
  ready(): boolean;
  /** Prometheus text. */
  metrics(): string;
  /** Counts a request that was answered with an error. */
  failed(code: string): void;

  /** Open Inference Protocol. */
  modelReady(model: string, version?: string): boolean;
  modelMetadata(model: string, version?: string): object;
  infer(model: string, version: string | undefined, body: string): string;

  /** Entity and row scoring; answers once the scores are durable. */
  score(model: string, body: string): Promise<object>;
  findScore(scoreId: string): Promise<object>;
  label(model: string, body: string): Promise<object>;
  push(source: string, body: string, idempotencyKey: string | undefined): Promise<object>;

  models(): Promise<object>;
  performance(model: string): Promise<object>;
  verdicts(): object;
  promote(model: string, body: string): Promise<object>;
  rollback(model: string): Promise<object>;
  rollforward(model: string): Promise<object>;
}
