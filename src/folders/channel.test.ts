import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, pack } from '../../tests/nine-p-client.ts';
import { Channel } from './channel.ts';
import { NinePServer } from './nine-p-server.ts';

function setUp() {
  const heard: string[] = [];
  const channel = new Channel({
    output: (stream, data) => void heard.push(`${stream} ${String.fromCharCode(...data)}`),
    status: value => void heard.push(`status ${value}`),
    wantsInput: () => void heard.push('wants input'),
    takesSignals: () => void heard.push('takes signals'),
  });
  const server = new NinePServer(channel);
  const client = new Client(server);
  const root = client.attach();
  /** Asks for input; `answers` has what came. */
  const answers: string[] = [];
  const read = (fid: number, tag: number) =>
    server.request(pack([4, 23], [1, 116], [2, tag], [4, fid], [8, 0], [4, 100]), 200, message =>
      answers.push(message[4] === 117 ? String.fromCharCode(...message.subarray(11)) : `error ${message[7]}`),
    );
  return { channel, server, client, root, heard, read, answers };
}

const bytes = (text: string) => new TextEncoder().encode(text);

test('output and the status go out', () => {
  const { client, root, heard } = setUp();
  client.write(client.open(client.walk(root, 'stdout'), 1), 0, bytes('out'));
  client.write(client.open(client.walk(root, 'stderr'), 1), 700, bytes('err'));
  for (const text of ['7\n', 'x\n', '256\n', '-1\n'])
    client.write(client.open(client.walk(root, 'status'), 1), 0, bytes(text));
  assert.deepEqual(heard, ['stdout out', 'stderr err', 'status 7']);
});

test('input is waited for, ends where nothing more has come yet, and cannot be opened when it has ended', () => {
  const { channel, client, root, heard, read, answers } = setUp();
  const open = () => client.open(client.walk(root, 'stdin'));
  let stdin = open();
  read(stdin, 900);
  assert.deepEqual([answers, heard], [[], ['wants input']]);
  channel.give(bytes('one'));
  assert.deepEqual(answers, ['one']);
  read(stdin, 901);
  assert.deepEqual(answers, ['one', '']);
  stdin = open();
  channel.give(bytes('two'));
  channel.give(bytes('three'));
  channel.give(undefined);
  read(stdin, 902);
  read(stdin, 903);
  assert.deepEqual(answers, ['one', '', 'twothree', '']);
  assert.throws(open, /errno 6/);
});

test('signals come one at an opening, and wait until they are asked for', () => {
  const { channel, client, root, heard, read, answers } = setUp();
  const open = () => client.open(client.walk(root, 'signals'));
  let signals = open();
  assert.deepEqual(heard, ['takes signals']);
  read(signals, 900);
  channel.give(bytes('input is no signal'));
  assert.deepEqual(answers, []);
  channel.signal(2);
  read(signals, 901);
  channel.signal(15);
  assert.deepEqual(answers, ['2\n', '']);
  signals = open();
  for (const expected of ['1', '5', '\n', ''])
    assert.equal(new TextDecoder().decode(client.read(signals, 0, 1)), expected);
});

test('a read that is given up takes no input', () => {
  const { channel, client, root, read, answers } = setUp();
  const stdin = client.open(client.walk(root, 'stdin'));
  read(stdin, 900);
  client.call(108, pack([2, 900]));
  assert.deepEqual(answers, ['error 4']);
  channel.give(bytes('kept'));
  read(stdin, 901);
  assert.deepEqual(answers, ['error 4', 'kept']);
});

test('a client that goes away is not answered', () => {
  const { channel, server, client, root, read, answers } = setUp();
  read(client.open(client.walk(root, 'stdin')), 900);
  server.reset();
  channel.give(bytes('x'));
  assert.deepEqual(answers, []);
});
