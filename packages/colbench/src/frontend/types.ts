/** One element as laid out, in document order; invisible ones are left out. */
export interface LaidOutElement {
  tag: string;
  text: string;
  x: number;
  y: number;
  width: number;
  height: number;
  color: string;
  background: string;
  fontSize: number;
}
/** problems: what the page tried and was refused, one sentence each. */
export interface Rendering {
  png: Uint8Array;
  width: number;
  height: number;
  elements: LaidOutElement[];
  problems: string[];
}
/** A page that has no picture: it took too long, too much memory, or the browser crashed on it. */
export interface RenderFailure {
  failure: string;
  problems: string[];
}
export interface Renderer {
  render(html: string, signal?: AbortSignal): Promise<Rendering | RenderFailure>;
  close(): Promise<void>;
}
export interface Embedding {
  readonly name: string;
  embed(png: Uint8Array): Promise<Float32Array>;
  close?(): Promise<void>;
}
