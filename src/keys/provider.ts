/** Who keeps the key that wraps all data keys. The wrapping key itself never leaves the provider. */
export interface KeyProvider {
  readonly name: string;
  /** The data key (32 bytes) sealed so that only this provider opens it. */
  wrap(dataKey: Uint8Array): Promise<Uint8Array>;
  /** The data key, or `keys.wrong_key` where this provider did not wrap it. */
  unwrap(wrapped: Uint8Array): Promise<Uint8Array>;
}
