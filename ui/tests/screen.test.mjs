// The terminal of the player by itself, without a browser.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import ts from 'typescript';

const read = (path) => readFileSync(new URL(path, import.meta.url), 'utf8');
const source = ts.transpileModule(read('../src/pages/sessions/screen.ts'), { compilerOptions: { module: 'esnext', target: 'es2022' } });
const { Screen, css } = await import(`data:text/javascript;base64,${Buffer.from(source.outputText).toString('base64')}`);
const vectors = JSON.parse(read('../../fixtures/terminal/vectors.json'));

function shown(text, columns = 20, rows = 4) {
  const screen = new Screen(columns, rows);
  screen.write(text);
  return Array.from({ length: screen.rows }, (_, row) => screen.text(row));
}
const trim = (lines) => lines.join('\n').trimEnd().split('\n');

test('the screen shows what the shared vectors say', () => {
  assert.ok(vectors.length > 20);
  for (const { name, input, screen } of vectors) assert.deepEqual(trim(shown(input)), screen, name);
});

test('what a terminal is spared makes no difference here', () => {
  for (const { name, input, filtered } of vectors) assert.deepEqual(shown(filtered), shown(input), name);
});

test('output in pieces is the same', () => {
  for (const { name, input } of vectors) {
    const screen = new Screen(20, 4);
    for (const c of input) screen.write(c);
    assert.deepEqual([0, 1, 2, 3].map((row) => screen.text(row)), shown(input), name);
  }
});

test('colours and looks come in runs', () => {
  const screen = new Screen(40, 2);
  screen.write('a\x1b[1;31mb\x1b[0;38;5;208mc\x1b[48;2;1;2;3;4md\x1b[39;24me\x1b[38:2::9:8:7mf\x1b[0;97;100mg\x1b[mh');
  const looks = screen.runs(0).map(({ text, look }) => [text, JSON.stringify(look)]);
  assert.deepEqual(looks, [
    ['a', '{}'],
    ['b', '{"bold":true,"fg":"1"}'],
    ['c', '{"fg":"208"}'],
    ['d', '{"fg":"208","bg":"1,2,3","under":true}'],
    ['e', '{"bg":"1,2,3","under":false}'],
    ['f', '{"fg":"9,8,7","bg":"1,2,3","under":false}'],
    ['g', '{"fg":"15","bg":"8"}'],
    ['h', '{}'],
  ]);
  assert.deepEqual(['3', '208', '250', '1,2,3', undefined].map(css), ['var(--t3)', 'rgb(255,135,0)', 'rgb(188,188,188)', 'rgb(1,2,3)', undefined]);
});

test('wide and combining characters take their cells', () => {
  const screen = new Screen(4, 2);
  screen.write('漢字x');
  assert.deepEqual([screen.text(0), screen.text(1)], ['漢字', 'x']);
  const other = new Screen(6, 2);
  other.write('e\u0301' + '\u0301'.repeat(1000) + 'a');
  assert.ok(other.text(0).length < 12);
  assert.deepEqual(other.cursor, [2, 0]);
});

test('another size keeps what is near the cursor', () => {
  const screen = new Screen(10, 4);
  screen.write('1\r\n2\r\n3\r\n4abcdefgh');
  screen.resize(5, 2);
  assert.deepEqual([screen.text(0), screen.text(1)], ['3', '4abcd']);
  screen.resize(1e9, -1);
  assert.deepEqual([screen.columns, screen.rows], [500, 1]);
});

test('nothing makes it slow or large', () => {
  const screen = new Screen(500, 200);
  let seed = 1;
  const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
  const pieces = ['\x1b[999@', '\x1b[999L', '\x1b[999S', '\x1b[999X', '\x1b[999;999H', '\x1b[2J', '\x1b[1m', '\x1b]', '\x1b\\', 'x', '漢', '\n', '\t', '\x1b[999P', '\x1b[38;2;300', 'm', '\x1b[T'];
  for (let i = 0; i < 20_000; i += 1) screen.write(pieces[random(pieces.length)]);
  for (let row = 0; row < screen.rows; row += 1) assert.ok([...screen.text(row)].length <= screen.columns);
});
