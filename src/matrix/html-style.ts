/** How the report looks: on white and on black, on a wide screen and on a phone, without a script or another file. */

/** Colours of the phases, in their order; neighbours differ in lightness, too, for who sees no hue. */
export const PHASE_COLOURS = ['#8c6bb1', '#3182bd', '#6baed6', '#31a354', '#f0a030', '#969696'] as const;

export const STYLE = `
:root {
  color-scheme: light dark;
  --back: #ffffff; --text: #1f2328; --faint: #59636e; --line: #d1d9e0; --card: #f6f8fa;
  --good: #1a7f37; --good-back: #dafbe1; --bad: #b3261e; --bad-back: #ffebe9;
  --none: #59636e; --none-back: #eff2f5; --bar: #3182bd; --best: #9a6700;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #0d1117; --text: #e6edf3; --faint: #9198a1; --line: #3d444d; --card: #151b23;
    --good: #57d273; --good-back: #12331c; --bad: #ff8e86; --bad-back: #4a1a17;
    --none: #9198a1; --none-back: #1f2630; --bar: #4a9fe0; --best: #e3b341;
  }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 1rem 1.25rem 4rem; background: var(--back); color: var(--text);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", sans-serif }
h1 { font-size: 1.5rem; margin: .5rem 0 .25rem }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem }
p { margin: .3rem 0 } a { color: inherit }
.faint { color: var(--faint); font-size: .87rem }
.wide { overflow-x: auto }
table { border-collapse: separate; border-spacing: 4px; font-variant-numeric: tabular-nums }
th { text-align: left; font-weight: 600; padding: .25rem .5rem; white-space: nowrap }
td { padding: .25rem .6rem; vertical-align: top }
table.lines { border-collapse: collapse } table.lines td, table.lines th { border-bottom: 1px solid var(--line) }
table.lines th.group { padding-top: 1rem; white-space: normal }
table.tests th + th { text-align: right }
table.lines td.number { text-align: right; white-space: nowrap }
.cell { display: block; min-width: 6.2rem; padding: .55rem .6rem; white-space: nowrap; border-radius: 6px; text-decoration: none; font-weight: 600;
  background: var(--bad-back); color: var(--bad) }
.cell small { display: block; font-weight: 400 }
.cell.passed { background: var(--good-back); color: var(--good) }
.cell.none { background: var(--none-back); color: var(--none); font-weight: 400 }
td.cells { padding: 0 }
.rows { display: grid; grid-template-columns: max-content 1fr max-content; gap: .3rem .7rem; align-items: center }
.rows .name { white-space: nowrap } .rows .value { white-space: nowrap; text-align: right; font-variant-numeric: tabular-nums }
.track { display: flex; height: 1.35rem; background: var(--card); border-radius: 3px; overflow: hidden }
.track.thin { height: .8rem }
.track span { display: block; height: 100%; flex: none } .track .bar { background: var(--bar) }
.track .stop { width: .35rem; background: var(--bad) }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .4rem 0; font-size: .87rem }
.legend i { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; margin-right: .35rem; vertical-align: -1px }
.tests .number .faint { display: block; font-weight: 400 }
.best { color: var(--best); font-weight: 700 }
.wrong { color: var(--bad); font-weight: 600 }
.runs { display: flex; align-items: flex-end; gap: 2px; height: 3.2rem }
.run { display: flex; flex-direction: column; justify-content: flex-end; width: .55rem; height: 100%; border-bottom: .35rem solid var(--bad) }
.run.good { border-color: var(--good) } .run.none { border-color: var(--none) }
.run > span { display: flex; flex-direction: column; justify-content: flex-end; height: 100% } .run i { display: block; flex: none }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: 0 .8rem; background: var(--card) }
details:target { outline: 2px solid var(--bar) }
summary { cursor: pointer; padding: .5rem 0; font-weight: 600 }
pre { overflow: auto; max-height: 26rem; margin: .5rem 0 1rem; padding: .6rem; background: var(--back); border-radius: 4px;
  font: 12px/1.4 ui-monospace, "SFMono-Regular", Menlo, monospace }
ul { margin: .3rem 0; padding-left: 1.2rem }
@media (max-width: 40rem) {
  body { padding: .6rem .7rem 3rem; font-size: 14px }
  .wide .lines:not(.tests) :is(td, th):not(.number) { white-space: normal; overflow-wrap: anywhere }
  .grid th:first-child { min-width: 6rem; padding: .25rem; white-space: normal; overflow-wrap: anywhere }
  .rows { grid-template-columns: max-content 1fr } .rows .value { grid-column: 1 / -1; margin-top: -.25rem; font-size: .8rem }
}
@media print { details { break-inside: avoid } }
`;
