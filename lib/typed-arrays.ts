// What a typed array is, of any realm.

export const TypedArray = Object.getPrototypeOf(Uint8Array.prototype) as Uint8Array;

/** The getter of %TypedArray%, which neither a subclass nor a property of the same name can replace. */
function getter<T>(name: keyof Uint8Array): (this: unknown) => T {
  return Object.getOwnPropertyDescriptor(TypedArray, name)?.get as (this: unknown) => T;
}
export const typedArrayTag = getter<string | undefined>(Symbol.toStringTag);
export const typedArrayLength = getter<number>('length');
export const typedArrayBuffer = getter<ArrayBufferLike>('buffer');
export const typedArrayOffset = getter<number>('byteOffset');
export const typedArrayBytes = getter<number>('byteLength');
