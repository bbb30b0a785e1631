/** The table of MMX and SSE is whole: x86-64-v2's instructions are all there, no two rows claim one encoding. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Feature, Row } from './row.ts';
import { rowsByFeature, vectorRows } from './vector-rows.ts';

/** SDM 1, 5.4 to 5.11, by the feature that brought the mnemonic (MMX forms of later ones not counted). */
const MNEMONICS: Partial<Record<Feature, string>> = {
  mmx: `movd movq packssdw packsswb packuswb punpckhbw punpckhwd punpckhdq punpcklbw punpcklwd punpckldq paddb paddw paddd
    paddsb paddsw paddusb paddusw psubb psubw psubd psubsb psubsw psubusb psubusw pmulhw pmullw pmaddwd pcmpeqb pcmpeqw pcmpeqd
    pcmpgtb pcmpgtw pcmpgtd pand pandn por pxor psllw pslld psllq psrlw psrld psrlq psraw psrad emms`,
  sse: `movaps movups movhps movhlps movlps movlhps movmskps movss addps addss subps subss mulps mulss divps divss rcpps rcpss
    sqrtps sqrtss rsqrtps rsqrtss maxps maxss minps minss cmpps cmpss comiss ucomiss andps andnps orps xorps shufps unpckhps
    unpcklps cvtpi2ps cvtsi2ss cvtps2pi cvttps2pi cvtss2si cvttss2si ldmxcsr stmxcsr pavgb pavgw pextrw pinsrw pmaxub pmaxsw
    pminub pminsw pmovmskb pmulhuw psadbw pshufw maskmovq movntq movntps sfence`,
  sse2: `movapd movupd movhpd movlpd movmskpd movsd addpd addsd subpd subsd mulpd mulsd divpd divsd sqrtpd sqrtsd maxpd maxsd
    minpd minsd andpd andnpd orpd xorpd cmppd cmpsd comisd ucomisd shufpd unpckhpd unpcklpd cvtpd2pi cvttpd2pi cvtpi2pd
    cvtpd2dq cvttpd2dq cvtdq2pd cvtps2pd cvtpd2ps cvtss2sd cvtsd2ss cvtsd2si cvttsd2si cvtsi2sd cvtdq2ps cvtps2dq cvttps2dq
    movdqa movdqu movq2dq movdq2q pmuludq paddq psubq pshuflw pshufhw pshufd pslldq psrldq punpckhqdq punpcklqdq lfence mfence
    maskmovdqu movntpd movntdq movnti`,
  sse3: 'addsubps addsubpd haddps hsubps haddpd hsubpd movshdup movsldup movddup lddqu',
  ssse3: `phaddw phaddsw phaddd phsubw phsubsw phsubd pabsb pabsw pabsd pmaddubsw pmulhrsw pshufb psignb psignw psignd palignr`,
  sse4_1: `pmulld pmuldq dppd dpps movntdqa blendpd blendps blendvpd blendvps pblendvb pblendw pminuw pminud pminsb pminsd pmaxuw
    pmaxud pmaxsb pmaxsd roundps roundpd roundss roundsd extractps insertps pinsrb pinsrd pextrb pextrw pextrd pmovsxbw pmovzxbw
    pmovsxbd pmovzxbd pmovsxwd pmovzxwd pmovsxbq pmovzxbq pmovsxwq pmovzxwq pmovsxdq pmovzxdq mpsadbw phminposuw ptest pcmpeqq
    packusdw`,
  sse4_2: 'pcmpestri pcmpestrm pcmpistri pcmpistrm pcmpgtq crc32',
  popcnt: 'popcnt',
  movbe: 'movbe',
  fxsr: 'fxsave fxrstor',
  xsave: 'xsave xrstor xgetbv xsetbv',
  xsaveopt: 'xsaveopt',
  xsavec: 'xsavec',
  aes: 'aesenc aesenclast aesdec aesdeclast aesimc aeskeygenassist',
  sha: 'sha1rnds4 sha1nexte sha1msg1 sha1msg2 sha256rnds2 sha256msg1 sha256msg2',
  pclmulqdq: 'pclmulqdq',
  avx: `vbroadcastss vbroadcastsd vbroadcastf128 vextractf128 vinsertf128 vmaskmovps vmaskmovpd vpermilps vpermilpd vperm2f128
    vtestps vtestpd vzeroall vzeroupper vblendvps vblendvpd vpblendvb`,
  avx2: `vbroadcasti128 vpbroadcastb vpbroadcastw vpbroadcastd vpbroadcastq vextracti128 vinserti128 vpmaskmovd vpmaskmovq vperm2i128
    vpermd vpermps vpermq vpermpd vpblendd vpsllvd vpsllvq vpsrlvd vpsrlvq vpsravd vpgatherdd vpgatherdq vpgatherqd vpgatherqq
    vgatherdps vgatherdpd vgatherqps vgatherqpd`,
  fma: ['fmadd', 'fmsub', 'fnmadd', 'fnmsub', 'fmaddsub', 'fmsubadd']
    .flatMap(name => ['132', '213', '231'].flatMap(order => ['ps', 'pd'].map(form => `v${name}${order}${form}`)))
    .concat(['fmadd', 'fmsub', 'fnmadd', 'fnmsub'].flatMap(name => [`v${name}132ss`, `v${name}213sd`, `v${name}231ss`]))
    .join(' '),
  f16c: 'vcvtph2ps vcvtps2ph',
};

/** Of SSE to SSE4.2, AES and PCLMULQDQ without a form under VEX, or with one that has another name (SDM 1, table 14-10). */
const WITHOUT_VEX =
  /^(.*pi2.*|cvtt?p[sd]2pi|movnt[qi]|[lms]fence|pshufw|maskmovq|movq2dq|movdq2q|crc32|blendvp[sd]|pblendvb)$/;

test('every mnemonic of x86-64-v2, AES and SHA has a row of its feature', () => {
  const byFeature = rowsByFeature(vectorRows);
  for (const [feature, mnemonics] of Object.entries(MNEMONICS)) {
    const names = new Set(byFeature.get(feature as Feature)?.map(row => row.name));
    assert.deepEqual(
      mnemonics.split(/\s+/).filter(name => !names.has(name)),
      [],
      feature,
    );
  }
});

test('what works on XMM registers has a form under VEX, and one on 256 bits where it has several lanes', () => {
  const named = new Set(vectorRows.filter(({ unit }) => unit === 'avx').map(({ name }) => name));
  const wide = new Set(vectorRows.filter(({ unit, vex }) => unit === 'avx' && vex?.l === 1).map(({ name }) => name));
  const legacy = vectorRows.filter(({ unit, name }) => unit === 'sse' && !WITHOUT_VEX.test(name) && !/^sha/.test(name));
  assert.deepEqual(
    legacy.filter(({ name }) => !named.has(`v${name}`)).map(({ name }) => name),
    [],
  );
  assert.ok(legacy.length > 250);
  const oneLane =
    /s[sd]$|si$|si2|[sd]2s[sd]|^(mov[dq]|mov[lh].*|.*mxcsr|p?extr.*|pinsr.|insertps|aes.*|pclmulqdq|pcmp.str.|phminposuw|dppd|maskmovdqu|extractps)$/;
  const narrow = legacy.filter(({ name }) => !wide.has(`v${name}`)).map(({ name }) => name);
  assert.deepEqual(
    narrow.filter(name => !oneLane.test(name)),
    [],
  );
});

test('what SSE, SSE2 and SSSE3 gave to both register files has both rows', () => {
  const integers = vectorRows.filter(row => row.unit === 'mmx' && /^Pq,Q[qd]/.test(row.operands));
  assert.ok(integers.length > 70);
  for (const row of integers) {
    if (row.name === 'movq' || row.name === 'pshufw') continue;
    const wide = vectorRows.find(
      other => other.name === row.name && other.opcode === row.opcode && other.prefix === '66',
    );
    assert.equal(wide?.unit, 'sse', row.name);
  }
});

/** What the decoder tells rows apart by. */
function encodings(row: Row): string[] {
  const operands = row.operands.split(',');
  const letters = operands.map(operand => operand[0]);
  const only = letters.includes('M') ? 'memory' : letters.some(l => l === 'U' || l === 'N') ? 'register' : undefined;
  const forms = row.form || only ? [row.form ?? only] : ['register', 'memory'];
  const prefixes = row.prefix ? [row.prefix] : ['none', '66'];
  const both = (bit: 0 | 1 | undefined) => (bit === undefined ? [0, 1] : [bit]);
  const { vex } = row;
  const widths = vex ? both(vex.l).flatMap(l => both(vex.w).map(w => `vex${l}w${w}`)) : ['legacy'];
  return forms.flatMap(form =>
    prefixes.flatMap(prefix =>
      widths.map(width => [width, row.opcode.toString(16), prefix, row.group, row.modrm, form].join(' ')),
    ),
  );
}

test('no two rows claim the same encoding', () => {
  const seen = new Map<string, Row>();
  for (const row of vectorRows)
    for (const encoding of encodings(row)) {
      assert.equal(seen.get(encoding)?.name, undefined, `${row.name}: ${encoding}`);
      seen.set(encoding, row);
    }
});
