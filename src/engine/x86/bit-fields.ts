/** PDEP and PEXT (SDM 2B): bits to and from the places that a mask has set, lowest first. One turn for each bit of the mask. */
import { Code, type Value } from '../../wasm/code.ts';
import { Body } from '../../wasm/module.ts';

/** (source, mask) -> the source's low bits at the mask's places. */
export function depositBody(): Body {
  const { b, source, eachPlace, result } = begin();
  const left = b.variable(source);
  eachPlace(place => {
    result.set(b.select(b.any(left.get(), 1n), b.or(result.get(), place), result.get()));
    left.set(b.shr(left.get(), 1));
  });
  b.answer(result.get());
  return b.complete();
}

/** (source, mask) -> the bits at the mask's places, side by side. */
export function extractBody(): Body {
  const { b, source, eachPlace, result } = begin();
  const next = b.variable(b.const(1));
  eachPlace(place => {
    result.set(b.select(b.any(source, place), b.or(result.get(), next.get()), result.get()));
    next.set(b.shl(next.get(), 1));
  });
  b.answer(result.get());
  return b.complete();
}

function begin() {
  const b = new Code(new Body(['i64', 'i64'], ['i64']));
  const [source, given] = b.parameters(2);
  const result = b.variable(b.const(0));
  const mask = b.variable(given);
  /** @param then for the lowest place that is left */
  const eachPlace = (then: (place: Value) => void) =>
    b.while(
      () => b.no(b.eqz(mask.get())),
      () => {
        then(b.and(mask.get(), b.sub(0n, mask.get())));
        mask.set(b.and(mask.get(), b.sub(mask.get(), 1)));
      },
    );
  return { b, source, result, eachPlace };
}
