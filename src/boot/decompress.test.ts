import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'fflate';
import { compressionOf, decompress } from './decompress.ts';
import { ImageError } from './image-error.ts';
import { randomNumbers, storeLz4, text } from './testing.ts';

/** Bytes that the x86 filter has many an opinion about: opcodes and the top bytes of their operands, at random. */
function sample(): Uint8Array {
  const random = randomNumbers(51966);
  const alphabet = [0xe8, 0xe9, 0, 0xff, 0xe8, 0x0f, 0x84, 0x10, 0, 0xff];
  return Uint8Array.from({ length: 1500 }, () => alphabet[random(alphabet.length)]);
}

/** `sample()` packed by the formats' own tools, xz 5.4.1, zstd 1.5.4 and lz4 1.9.4 (`lz4 -l`). */
const PACKED: Record<string, string> = {
  'xz, x86 filter, CRC-32': [
    '/Td6WFoAAAFpIt42AgEEACEBHgAFDOzX4AXbA4wAAAA8IASTB4b8xVWJdLg7zpeiUoFOnBcko78n/qdAUA5JrbnqXXKGpIRB6rz4RtfpxNbeWS',
    '25ELYtvWGPTN65++IHLmpnwC/FwPzrjp/sj/TyBH82fdQW4GTF7EFJtnBWaCQWmgdwjR7bph4u0cBTH7w0xmQKgJ3VinhFDaUhbMvl3qYi2pM/',
    'tIcnilDNrfz8elQN3uMUUt8LU81tKh8luI968ywG1NOjvpxDQxcodexb/tG/wn1Uq9iaz16E0lJqkd/v/18x0dVPJy912D6grMca9/6G7pQ6b/',
    'Lo9Tehy/5ZErjwkyHG3YyAW8+46jjelMN0KTNrvD7ZRhh8IPWn5lcoJcK0tcQVkRptdN1ESIyWkSv24chjG/mFo8GQmUAo+gp7tDWYkgUv4RU0',
    'm5QkGutVyC/IXASRTj2VseN6zwBRFJzzGfsoeBEeUQwbZvDln/1F1dSWMfJz3gOI/YS+tlQj6o0fcOoEhUnE8c/o68gsaaKxih/mMUBD3L4kav',
    '7+n04bX+f7govpxG/s2hlXJt2s6zsRhE4rY6QOtGVpUHtaYYMYDc8XEBxGmH0ZEakUASUdnJnXItwRWCr504LU8CT0AUT0usL5lhSdmvyun3eI',
    '0fu4aelI01ArwxGitwJ63LYCqVQ7vqtVEJrfAJ8mIL4r2/ZdTwH1JmheGB4wZqHrKJt95ts14CWr1CRn6yLBfel2awy/KE0V5V8O/LwY5wJdnb',
    'iv0qM+Z5FXjK/HeOCyxQ2IHdx3Q4vwl7nYM+1WHSQI4WuI7Vg3PX1AthnzF3JVNUCoNWLsS60AFQbjfhxW2kzdlX9p7M1JDHLA19uIGeMAqAPX',
    '6eYAmuEBCBFEGZya5Zw+0PGY5JrMDDaNDCQ7vC9VksEJNytweocq771fNcx2yME3N+vG9SsewvU6fImBssiSazdOadmn+fgaKInQDWyep/RBdD',
    '6Weh9OE+OXGFUnMnp6UQwA3Ow8YefJ5KP9LAFIzp3cuvLiVMYMY2AS4bu/UWSFCLg6tzqhozk6SzXC9nTXpDOGe/6NKhcmil36z5SWWjDjPReM',
    'nBvM/mOT+Cs+RPlbD5XoowDOcEIrYQ7GsAcylN2/4wVXQsWtDZsM1RVMg9Ur6dfX8Rd86eN9mRRidDpCD/fjIdghQkQ4IQZU5aoFrZgHlzf4iI',
    '7H+YaECxA+vmdc7HdCa7MM+JkNbwnMRK0wkrFSuux0AOMqIAQAAaQH3AsAAPWyL5M+MA2LAgAAAAABWVo=',
  ].join(''),
  'xz, x86 filter, CRC-64, three blocks': [
    '/Td6WFoAAATm1rRGAgEEACEBGgAByYCz4AH/AV4AAAA8IASTB4b8xVWJdLg7zpeiUoFOnBcko78n/qdAUA5JrbnqXXKGpIRB6rz4RtfpxNbeWS',
    '25ELYtvWGPTN65++IHLmpnwC/FwPzrjp/sj/TyBH82fdQW4GTF7EFJtnBWaCQWmgdwjR7bph4u0cBTH7w0xmQKgJ3VinhFDaUhbMvl3qYi2pM/',
    'tIcnilDNrfz8elQN3uMUUt8LU81tKh8luI968ywG1NOjvpxDQxcodexb/tG/wn1Uq9iaz16E0lJqkd/v/18x0dVPJy912D6grMca9/6G7pQ6b/',
    'Lo9Tehy/5ZErjwkyHG3YyAW8+46jjelMN0KTNrvD7ZRhh8IPWn5lcoJcK0tcQVkRptdN1ESIyWkSv24chjG/mFo8GQmUAo+gp7tDWYkgUv4RU0',
    'm5QkGutVyC/IXASRTj2VseN6zwBRFJzzGfsoeBEeUQwbZvDln/1F1dSWMfJz3ddbgndYAAAAUt9kW0YV4XACAQQAIQEaAAHJgLPgAf8BVQAAf4',
    'QtzXOEmFytrZRZgC4KqgRVMYV1SST3GsQ2ahiG3NRZsht0095vLoTDxtIYtLnezXeOnZKVu/fVuiAF2aTDeVPUCc5adzhdDO+bGomd8/JD4sZC',
    'bA1avZ8+2ooTmcLw5Hklhs9rFskaHNigI5plyOFFRyZXtM6E29XXUYhAT1vGSs4/CiMLbjKZvkZ7tvwHbXJFDhAgkk4ELWCB+7ZmfzG/NYWhZI',
    '4Am8HBSf9afTnjjS98rQeaB/OFzxdkhaGQ0Qg4EKUxvmtJVcLV5lNAtz0pO95xCkHBnC1o348qnIk038/d0SRMeWQ1as+0v3ASVSSKVEFI7Lqy',
    'cTYObdrGWJIF9SIUG6c8/L8qMc2zqX+PS0ysVfRqN2bPUa4TXWxWB77cMkoOqjmMvIX09uW6ZRIpXNGLNs1MoE1ftapuNo98pVteTmEVRNwst2',
    'do3iRGE6AmQpoAAAAArtVlVaVKc3ICAQQAIQEaAAHJgLPgAdsBRgAAQgPaHDkTBcsvdS3zbLz1wWH9em+FNouMPb8IY3LDnGm4ZIRFbDMjqdcn',
    'NCtQNM6C+0QsKLmBpAZV3HhiLJUx0pqTiSSJXaa1I4mhtWQndEQLN+qQYGhooFvKFGSpGSwEUOKJGLQ0Q4hgzoz3kTt113apIp7Pg7wC/bmRES',
    'HU0VUWvwFJHPntUnaCUo35qCttzSxrq79fExGVLRSQVmUsq8Fzeydlk4KaqUW2DXWht/JIZMU95A/RzfOdXFf+Ja3FCH29cN/XS4agks7QFu6G',
    'WSvH+4GAQSV8CwPf+Irc8t94DNlLcg7d6GbZUPI1TOL9AH0b0JlFqr9MkutcQaoaw2C+3CdNvej4yE7Ej45x7fbg99c9YpyVHD0yYpWT53VctE',
    '0MZEflg67hJHzS9kXWtUHPt6p0AkztBpsQglYoLQ06mh6VuAAAAACO+tBuFC9pGQAD+gKABPECgATiAtwDAABAMSvPrCc+LQQAAAAABFla',
  ].join(''),
  xz: [
    '/Td6WFoAAAFpIt42AgAhARYAAAB0L+Wj4AXbAxFdAAA6XZTT2tYgC3w7HpitJVJ/kC2tAiCXi4Z5O/mRjiNANY4S7NdFv6JFE5SrWtKQkmVOgp',
    'k21zEKtDw9ArUunnsIMbpq98B2OYWTGhXoxU0R67RBrvJzLlHQfa3sR3y9VFU2AegLcPiyEs5Z635glXejoxXvYDfGgtxVEwwRVUQwALWT8+P1',
    'XRvgoLEKYf/1upo3jgImkS3w2JK6YWHjdDE8LWD8qoG7TUBTIBIW/YHMi/mZV9HXVUn+s/q5uNMlLltjAAPOKmJvicGBtmYBTYZn/wYROtfrVU',
    'B/gXDXkP2QzHk4eYy84UPMGVhB6aAFFBahg8BQsX1fkViRlUBOQ5bOhtKgi3p8MgZqJVdVs2/bo8XCYlVNpsoOTHWrEDeiMAOHMRGSQUZM9R6j',
    'Yw3ttxMUyc2mkO8Yss9hTH1k3D+GwdjRTvwKmiew9LfL1cie0sivOLwrWjx6mVJ3ne2UpPVp6dK7aq/+JM2F0PlQadRX7qkslLLH1x0N/7PaEO',
    'qDx4/25H9/2PxiP6aHvqfreHkSuOzBpMmIKyRYfAtonl4zGN4vYpmFW9ptx9iYTG5wXa7Tx6p5fbqondsy5Nv0Wom10DmOhalE7KMU/+PXdGrx',
    'dg8XZK/f6dXBG+WRM91u3XPZ9phEZ2YkTOEncTsUVqhGoF2WfMBFxzqEajgyhsBdDT9+V6Y7CNP4Q/F1JT9+vB0r1ik4AA80HbK5XmAE3Eql53',
    'SYahrkxMKsiqdLgZmnelzfCE42ahqaGuaJNLCfeEmhraYUuhecu0gNU6VL7ioauEsT34uxUI2PcB0tkJqDVNxa4uFZ/2LTh1oIUWO8zBm++qRa',
    'R4bD/Sq/VUyCDPmDZqvh1ST7k07DNlPVZq8lXcYmwGABxDcbAVfp5Z490bLgpUS5R3rsHyLuY1LnL6WKP/jZ2kMQwvdLZqTlzV+jae1XyFKQdQ',
    'woNgVYh1L7dR5LsUEAx8AwcI2dQFv8oFs2d5zCCsuPS33uUhCIbbqJE+cJvasb017LUlEsVTZIRZ7ngIEpRAYW1P2uY2dAFYwAAAAAAOMqIAQA',
    'AakG3AsAAJuI0RI+MA2LAgAAAAABWVo=',
  ].join(''),
  zstd: [
    'KLUv/WTcBEURAOpcaAgJ4A+KjRYKvjcFgwCCAIMAc0CGtRZEMTCzNJU5GxXIQ+vdJN7YopjjHGSzDElENTXIcZtMsT1CpuV0QXUJAKAkJ942xE',
    'TMPIJPmEXm+MgeDsudPjDPlmQwKk6k7KN5jRVyTALVPNRQOcnwbRoVoODGUjN84MdQI5SX2WOJ4eVcBbLL3QpmwIAT5sFyhGngBNACIBE4DKvM',
    'vkjiN9Z4Ncg4OEWCHFvijxsawk+YZyiFAybBcAgLoBc1agf2UAwM/GsB+yAkbE4JoZDAnm8CE+1QJseULuaCAU4CWSKrYEXwGseBpSepcorPii',
    'P2iARyAlMAenhBCQ8Motoy9YPuYQCuyKokJ0IhA83GDSUOBe9AgmAEjBU60KTmBQeA1BgFIBwD43qMMgGUCEwelLiACGjjsMywQWlsdhrysNn0',
    'P9EwXSx/ilqCWgG3fvJ/s5yeBDAOaDtgkw8Gl8IIc0MCr+d8D4bKb3l86pVPFiTQCh2kXApFBG3soBTGQUAAQdLnInpuSnDwMklH8JISkRBB30',
    'hCCR+5ckRYhAMsGHDN811+Esk5ngUAlhxCVBws2XXcSiBUMdmKBdAU+IQzQjdcDGiwAJ1A8wtzrz+gqI+xIBQbJ4j+mxuwYJaFHsJu4VIIsEeR',
    'X+gO8QC3Cig4leENEGD55rpkCg0Yj3cAdkJUx4hRN+G2grJRo47olLUlKOt2H0n7h2Rj1Z4kkVkFAgD8KCJLwmQ3DeU/OVw=',
  ].join(''),
  lz4: [
    'AiFMGOEEAADwFADo6AAAAOnpAAAA6P/oAIQQhAAQD/8PhAAP/+j/ABCE6AAPAwDwEv8ADxD/hOn/D4Tp6OgAEOmE6P/o6f/oD+gQEP8A//+EDw',
    '4AcOkAEA/pEAARAED/AAD/HwDwBf8Q6OnohIToAOkAAA8Q6IQQhISEGAAQ6EAAUBAA/xDoaADAEOkAAOjo/wD/6OgPUADAEP//D+kA///p6OkP',
    'lwBQEOkA/wA1APAJ6eno//8P6ACE/+kP/4To6egP/wCE/4QPbQBhhOj/DwDptQBg/+gA6IT/tgDQ6BCEAOgP6enp/+gQhEEAEAABAPACDw+E6R',
    'DoAOn/EITo6ekP6OhBADCEhAALAHD/hITohOjomwAAmACQ6BAQEAD/D4QP+AAh/+hnAEAA6QDp1gAQ/7UA8AaE6f/phBAA//8PAADpEA/p6P/o',
    '/w88ABEQgQAQAC4A8A7oAOnphBD/AIQPAACE6P//EADphAD/AAAQD+gA6IIBMITp/yMB8QWE6BAQ6A/p/wD/hA/pAAD/DwAQ6AEB4Ojo6RDp6O',
    'gQ6f8AAACE8wCw6QAP///pEIQPhISmABEAcQEhABDWADDoD//oADEQ6P/VAUHoABAQ4QBQAOiE6BBCASHoEH8BAIYBAKgAIAAA1wBghBD//wAP',
    'mgARD2wAMRD/D5YBEOjEABEP9wAy/xAQpgGC/w8QAP/p6QBiADCE/+heABAAvgHhAOgPDxCE6P+EABAQAOjEASAAD1sAARMCAg8BEIQtACD/6S',
    '4BwBAPhP8QAAAPhAAQABgCAQcCQACE6A8JAQHsASAPD0kCEABjATCE6IS8ADAQ/4SEACEA6McAEwAEAJH/6IQPAA/pEP9AAkAA/4T/nwEg6BCC',
    'ABD/0gAQDy0CMP8AEGwAgA8A/+jphOjojAIAtAAQ6M4BMOkAD74AAPMBMejo6UQCMekPD9oCEAAOAEDpD+n/WgEg6BDwAFDpDw8ADzYDMgAPAF',
    'kAEOiUAVCEAP+EEGEAEOkRAKH/DxAQAITpABDp4gIgAOlyATDo6YRdAhD/owIwhIT/LgIQDyoBAEcBAJEBIf//SwEQ6f0AAlgAIf8AIQAAbgJA',
    'AACE6U0AQYTohACfAQHEAgJOAhDpiwER/ygAAEcAALwDMBD/ELoAQOkQDxA8AYDp6BD/6Q/oD7oBAAEAIBCE2QIQD3gDAFEDQA/p6IRDAlL/hA',
    'CED14DAM4AgQDoEAAA6f8A4QABoQEAIwHAAAAQhA8QD+iE/xD/jQAAGQIRD3cCEIQ9AwBXBBGEjgIADQAh/xCfADEPAOh1AiCEELMAQIQPDwCx',
    'AMCEEBAQD///hOnp/xBaAgDiAQAJACCE6YMBASYCMeno6YIEYIToDw/p/2MAAGYAYOkQ6BAA6GMCAHoBAHgEAAgBIYQQyQMATQABnAIAHwAAxQ',
    'IQhIEDATMCEOktAQCWBAAyACDoD04DAKICALUBAckCEg91AQDyBAB7AgCwAxDoWgQQD38BEoRmASHpAHcCADYEUQAQABD/9wQAaAEAVQBA/+mE',
    '/zIDAVYAAPsBIf/p5QIADAAQhEsBEIRzADEP6P/fAjAAAOkZAFAA6egQ6SICIADp9wMgAOijACCE6XIFMenoAAYFAI4AAQ4AAS4AIf//kgQArA',
    'MARwJBhOn//04FgP/oAA/oAOno',
  ].join(''),
};

const SAMPLE = sample();
const bytesOf = (base64: string) => Uint8Array.from(atob(base64), character => character.charCodeAt(0));

const isImageError = (error: unknown) => {
  assert.ok(error instanceof ImageError, `${error instanceof Error ? error.stack : error}`);
  assert.ok(!error.message.includes('\n'));
  return true;
};

for (const [name, base64] of Object.entries({ ...PACKED, gzip: btoa(String.fromCharCode(...gzipSync(SAMPLE))) })) {
  const packed = bytesOf(base64);

  test(`${name}: unpacks to the very bytes`, async () => {
    assert.equal(compressionOf(packed), name.split(',')[0]);
    assert.deepEqual(await decompress(packed, SAMPLE.length), SAMPLE);
  });

  test(`${name}: cut off anywhere is an error`, async () => {
    for (let length = 8; length < packed.length; length += length < 40 || length > packed.length - 40 ? 1 : 37)
      await assert.rejects(decompress(packed.subarray(0, length), SAMPLE.length), isImageError, `${length} bytes`);
  });

  test(`${name}: damaged is an error or, where the format has no checksum, as long as it should be`, async () => {
    const random = randomNumbers(7);
    let noticed = 0;
    for (let round = 0; round < 150; round++) {
      const damaged = packed.slice();
      damaged[6 + random(packed.length - 6)] ^= 1 << random(8);
      try {
        const out = await decompress(damaged, SAMPLE.length);
        // gzip's header holds a time and a name that nobody checks.
        if (/xz|gzip|zstd/.test(name)) assert.deepEqual(out, SAMPLE);
        assert.equal(out.length, SAMPLE.length);
      } catch (error) {
        isImageError(error);
        noticed++;
      }
    }
    assert.ok(noticed > 20, `${noticed}`);
  });
}

test('what is unpacked stays as it is', async () => {
  // A Buffer's slice() is no copy.
  const packed = Buffer.from(PACKED['xz, x86 filter, CRC-32'], 'base64');
  await decompress(packed);
  assert.deepEqual(new Uint8Array(packed), bytesOf(PACKED['xz, x86 filter, CRC-32']));
});

test('a wrong size is noticed', async () => {
  await assert.rejects(decompress(gzipSync(SAMPLE), SAMPLE.length + 1), isImageError);
  await assert.rejects(decompress(bytesOf(PACKED.xz), SAMPLE.length - 1), isImageError);
  await assert.rejects(decompress(bytesOf(PACKED.lz4)), isImageError);
});

test('nothing unpacks beyond the limit', async () => {
  const bomb = gzipSync(new Uint8Array(4 << 20));
  await assert.rejects(decompress(bomb, undefined, 1 << 20), /more than 1 MiB/);
  await assert.rejects(decompress(storeLz4(new Uint8Array(100)), 2 ** 31), /more than 1 GiB/);
  await assert.rejects(decompress(storeLz4(new Uint8Array(100)), 1 << 20), /cannot hold/);
  // The package decodes one stream at a time: one that was given up must not block the next.
  await assert.rejects(decompress(bytesOf(PACKED.xz), undefined, 100), /more than 100 bytes/);
  assert.deepEqual(await decompress(bytesOf(PACKED.xz)), SAMPLE);
});

test('several xz streams at once do not disturb each other', async () => {
  const all = await Promise.all([1, 2, 3, 4].map(() => decompress(bytesOf(PACKED.xz))));
  for (const out of all) assert.deepEqual(out, SAMPLE);
});

test('what is packed in no known way is refused', async () => {
  await assert.rejects(decompress(text('plain text')), isImageError);
});
