/** The bytes of the module, which binding/wasm/build.js puts into the bundle. */
declare module 'sweet-rl.wasm' {
  const bytes: Uint8Array;
  export default bytes;
}
