/** The terminal: xterm.js in the page's colours, as wide as there is room for. */
import { Terminal } from '@xterm/xterm';

const ROWS = 24;
const COLUMNS = 80;
/** Fewer are of no use: then the terminal is scrolled sideways. */
const FEWEST_COLUMNS = 40;
const LARGEST_FONT = 13;
const SMALLEST_FONT = 11;
/** Width of a character of these fonts, in its height. */
const ADVANCE = 0.6021;
/** Beside the text: the scroll bar, and the frame. */
const MARGIN = 30;

const LIGHT = {
  ...{ background: '#ffffff', foreground: '#1d1f22', cursor: '#2556c9', selectionBackground: '#cfdcfb' },
  ...{ black: '#1d1f22', red: '#b3261e', green: '#1f7a45', yellow: '#8a6100', blue: '#2556c9', magenta: '#8d3fa8' },
  ...{ cyan: '#0b7285', white: '#8a8f96', brightBlack: '#666b73', brightWhite: '#1d1f22' },
};
const DARK = {
  ...{ background: '#1a1b1e', foreground: '#e5e5e1', cursor: '#86a9ff', selectionBackground: '#33415f' },
  ...{ black: '#2d3035', red: '#f08a80', green: '#6fd09c', yellow: '#e4bd61', blue: '#86a9ff', magenta: '#d59aea' },
  ...{ cyan: '#6bc7d6', white: '#e5e5e1', brightBlack: '#9297a0', brightWhite: '#ffffff' },
};

export interface PageTerminal {
  /** What the guest is told of it: words of its command line that become its environment. */
  readonly parameters: string;
  write(data: Uint8Array | string): void;
  onData(take: (text: string) => void): void;
  focus(): void;
  /** The text that it shows, and has shown: its lines, however many rows each takes. */
  text(): string;
  dispose(): void;
}

/** @param room width in pixels @param leave called when F6 asks to leave */
export function createTerminal(place: HTMLElement, room: number, leave: () => void): PageTerminal {
  const fit = (room - MARGIN) / COLUMNS / ADVANCE;
  const fontSize = Math.max(SMALLEST_FONT, Math.min(LARGEST_FONT, Math.floor(fit * 2) / 2));
  const columns = Math.min(COLUMNS, Math.floor((room - MARGIN) / (fontSize * ADVANCE)));
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const theme = () => (dark.matches ? DARK : LIGHT);
  const terminal = new Terminal({
    rows: ROWS,
    cols: Math.max(FEWEST_COLUMNS, columns),
    fontSize,
    fontFamily: getComputedStyle(document.documentElement).getPropertyValue('--mono'),
    lineHeight: 1.15,
    scrollback: 5000,
    theme: theme(),
    convertEol: false,
    screenReaderMode: false,
  });
  terminal.open(place);
  terminal.attachCustomKeyEventHandler(event => {
    if (event.key !== 'F6') return true;
    if (event.type === 'keydown') leave();
    event.preventDefault();
    return false;
  });
  const repaint = () => void (terminal.options.theme = theme());
  dark.addEventListener('change', repaint);
  return {
    parameters: `LINES=${terminal.rows} COLUMNS=${terminal.cols} TERM=xterm-256color`,
    write: data => terminal.write(data),
    onData: take => void terminal.onData(take),
    focus: () => terminal.focus(),
    text() {
      const { active } = terminal.buffer;
      let text = '';
      for (let y = 0; y < active.length; y++) {
        const row = active.getLine(y)!;
        text += (y === 0 || row.isWrapped ? '' : '\n') + row.translateToString(true);
      }
      return text.trimEnd();
    },
    dispose() {
      dark.removeEventListener('change', repaint);
      terminal.dispose();
    },
  };
}
