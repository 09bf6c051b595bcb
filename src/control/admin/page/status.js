
'use strict';
// Asks the admin API once a second and shows what it says. Whatever comes from there is put in as text, never as markup.
(() => {
  const PERIOD = 1000;          // ms from one question to the next
  const PATIENCE = 4000;        // ms for an answer
  const SHOWN = 180000;         // ms of time that a small chart has
  const GAP = 5000;             // ms without an answer that a chart does not draw over
  const MEAN = 5000;            // ms that a rate in figures is the mean of
  const MINUTE = 60000;
  const ROWS = 20;
  const TOKEN = 'ringgate.token', THEME = 'ringgate.theme';

  const $ = (id) => document.getElementById(id);
  const el = (tag, attributes, ...children) => {
    const svg = ['svg', 'path', 'title'].includes(tag);
    const node = svg ? document.createElementNS('http://www.w3.org/2000/svg', tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };

  // ---- how numbers are written

  const NONE = '\u2013';
  const scaled = (value, step, units) => {
    let unit = 0;
    while (Math.abs(value) >= step * 0.9995 && unit < units.length - 1) { value /= step; unit++; }
    const digits = unit === 0 ? (value < 10 && value % 1 ? 1 : 0) : value < 10 ? 2 : value < 100 ? 1 : 0;
    return value.toFixed(digits) + units[unit];
  };
  const count = (value) => value == null ? NONE : value < 10000 ? value.toLocaleString('en') : scaled(value, 1000, ['', ' k', ' M', ' G']);
  const rate = (value) => value == null ? NONE : scaled(value, 1000, ['', ' k', ' M', ' G']);
  const bytes = (value) => value == null ? NONE : scaled(value, 1024, [' B', ' KiB', ' MiB', ' GiB', ' TiB']);
  const millis = (value) => {
    if (value == null) return NONE;
    return value < 1 ? (value * 1000).toFixed(0) + ' \u00b5s' : value < 100 ? value.toFixed(1) + ' ms' : value < 1000 ? value.toFixed(0) + ' ms' : (value / 1000).toFixed(1) + ' s';
  };
  const span = (ms) => {
    if (ms == null || Number.isNaN(ms)) return NONE;
    const s = Math.max(0, Math.floor(ms / 1000));
    if (s < 60) return s + ' s';
    if (s < 3600) return Math.floor(s / 60) + ' min ' + s % 60 + ' s';
    if (s < 86400) return Math.floor(s / 3600) + ' h ' + Math.floor(s / 60) % 60 + ' min';
    return Math.floor(s / 86400) + ' d ' + Math.floor(s / 3600) % 24 + ' h';
  };
  const words = (label) => label.replaceAll('_', ' ');
  const sum = (counted) => Object.values(counted || {}).reduce((all, n) => all + n, 0);

  // ---- what has been seen: answers of the last minutes, with the server's own clock

  let samples = [];
  let rowsBefore = { apis: [], backends: [], cores: [] };
  let lastAnswer = null;

  const forget = () => {
    samples = [];
    rowsBefore = { apis: [], backends: [], cores: [] };
  };
  const remember = (state) => {
    const last = samples.at(-1);
    // Another process: its counters began anew.
    if (last && (last.started_at !== state.started_at || last.pid !== state.pid || state.uptime_ms < last.uptime_ms)) forget();
    samples.push(state);
    while (samples[0].uptime_ms < state.uptime_ms - SHOWN) samples.shift();
  };
  // Per second between two answers; nothing where there is no earlier one, or a counter that began anew.
  const perSecond = (now, before, read) => {
    if (!before || before === now) return null;
    const time = now.uptime_ms - before.uptime_ms, more = read(now) - read(before);
    return time > 0 && time < 2 * GAP && more >= 0 ? more * 1000 / time : null;
  };
  const ago = (ms) => samples.find((sample) => sample.uptime_ms >= samples.at(-1).uptime_ms - ms);

  // The time that so large a part of handshakes, or of something else, took at most, from the difference of two histograms.
  const quantile = (now, before, part, read = (state) => state.handshakes) => {
    if (!before || before === now) return null;
    const [times, earlier] = [read(now).buckets, read(before).buckets];
    const counts = times.map((bucket, i) => bucket.count - earlier[i].count);
    const all = counts.reduce((sum, n) => sum + n, 0);
    if (all <= 0) return null;
    let rank = all * part, below = 0;
    for (const [i, n] of counts.entries()) {
      const up = times[i].up_to_ms;
      if (up == null) return below;
      if (rank <= n) return below + (up - below) * (n ? rank / n : 0);
      rank -= n;
      below = up;
    }
    return below;
  };

  // ---- small charts

  // As much time as there is, from one minute to three.
  const range = () => Math.min(SHOWN, Math.max(MINUTE, samples.at(-1).uptime_ms - samples[0].uptime_ms));
  const paths = (points, top, now) => {
    let stroke = '', area = '', from = null, last = null;
    const x = (t) => (100 - (now - t) * 100 / range()).toFixed(2);
    const close = () => { if (from !== null) area += `L${x(last)} 40L${x(from)} 40Z`; };
    for (const [t, value] of points) {
      if (value == null) continue;
      const y = (38 - value / top * 34).toFixed(2);
      if (last === null || t - last > GAP) { close(); stroke += `M${x(t)} ${y}`; area += `M${x(t)} ${y}`; from = t; }
      else { stroke += `L${x(t)} ${y}`; area += `L${x(t)} ${y}`; }
      last = t;
    }
    close();
    return [stroke, area];
  };
  const draw = (svg, title, series, write) => {
    const now = samples.at(-1).uptime_ms;
    const values = series.flatMap((points) => points.map(([, value]) => value)).filter((value) => value != null);
    const top = Math.max(...values, 1e-9);
    const parts = [...svg.querySelectorAll('path')];
    series.forEach((points, i) => {
      const [stroke, area] = paths(points, top, now);
      parts[2 * i].setAttribute('d', area);
      parts[2 * i + 1].setAttribute('d', stroke);
    });
    const text = values.length ? `${title} over the last ${span(range())}, at most ${write(top)}` : `${title}: nothing yet`;
    svg.setAttribute('aria-label', text);
    put(svg.querySelector('title'), text);
  };

  // ---- the tiles

  const history = (read) => samples.map((sample, i) => [sample.uptime_ms, read(sample, samples[i - 1])]);
  const both = (side, key) => (state) => state.tunnels[side][key];
  const tiles = [
    { title: 'Open sockets', lines: [(s) => s.tunnels.open], write: count,
      sub: (s) => `connections ${count(s.connections.open)} / ${count(s.connections.limit)}` },
    { title: 'New sockets a second', lines: [(s, b) => perSecond(s, b, (x) => x.tunnels.opened)], write: rate,
      sub: (s, b) => `${rate(perSecond(s, b, (x) => sum(x.refused)))} refused a second` },
    { title: 'Ended a second', lines: [(s, b) => perSecond(s, b, (x) => sum(x.tunnels.closed))], write: rate,
      sub: (s) => `${count(sum(s.tunnels.closed))} since the start` },
    { title: 'Messages a second', lines: [(s, b) => perSecond(s, b, both('from_client', 'messages')), (s, b) => perSecond(s, b, both('from_backend', 'messages'))],
      write: rate, pair: ['in', 'out'], sub: () => 'from and to clients' },
    { title: 'Bytes a second', lines: [(s, b) => perSecond(s, b, both('from_client', 'bytes')), (s, b) => perSecond(s, b, both('from_backend', 'bytes'))],
      write: bytes, pair: ['in', 'out'], sub: (s) => `${bytes(s.memory.resident_bytes)} resident` },
    { title: 'Handshakes', lines: [(s) => quantile(s, recent(s, 10000), 0.5), (s) => quantile(s, recent(s, 10000), 0.99)],
      now: [(s) => quantile(s, ago(MINUTE), 0.5), (s) => quantile(s, ago(MINUTE), 0.99)],
      write: millis, pair: ['p50', 'p99'], sub: (s) => {
        const ping = quantile(s, ago(MINUTE), 0.5, (x) => x.tunnels.from_client.round_trip);
        return ping == null ? 'over the last minute' : `clients' pings ${millis(ping)}`;
      } },
  ];
  const recent = (sample, ms) => samples.find((earlier) => earlier.uptime_ms >= sample.uptime_ms - ms);

  for (const tile of tiles) {
    tile.values = (tile.pair || ['']).map(() => el('span', {}));
    const value = tile.pair ? el('dl', { class: 'pair' }) : el('p', { class: 'value' });
    tile.values.forEach((node, i) => {
      if (tile.pair) value.append(el('div', {}, el('dt', { class: i ? 'two' : 'one' }, tile.pair[i]), el('dd', {}, node)));
      else value.append(node);
    });
    tile.subNode = el('p', { class: 'sub quiet' });
    tile.chart = el('svg', { class: 'spark', role: 'img', viewBox: '0 0 100 40', preserveAspectRatio: 'none' }, el('title'));
    for (const kind of tile.pair ? ['', ' two'] : ['']) {
      tile.chart.append(el('path', { class: `area${kind}` }), el('path', { class: `stroke${kind}` }));
    }
    $('tiles').append(el('div', { class: 'card tile' }, el('h2', {}, tile.title), value, tile.subNode, tile.chart));
  }

  const showTiles = (state) => {
    const before = ago(MEAN);
    for (const tile of tiles) {
      const read = tile.now || tile.lines;
      tile.values.forEach((node, i) => put(node, tile.write(read[i](state, before))));
      put(tile.subNode, tile.sub(state, before));
      draw(tile.chart, tile.title, tile.lines.map(history), tile.write);
    }
  };

  // ---- tables: a row keeps its element while its key is there, so that what is selected stays selected

  const fill = (body, items, cells, empty) => {
    const old = new Map([...body.rows].map((row) => [row.dataset.key, row]));
    const rows = items.map(([key, item]) => {
      let row = old.get(key);
      const wanted = cells(item);
      if (!row || row.cells.length !== wanted.length) {
        row = el('tr', {});
        row.dataset.key = key;
        wanted.forEach(([kind]) => row.append(el('td', { class: kind })));
      }
      wanted.forEach(([kind, text, note, part], i) => {
        const cell = row.cells[i];
        cell.className = kind;
        cell.title = note ? `${text} ${note}` : '';
        if (note != null || part != null) {
          if (!cell.firstChild) cell.append(el('span', {}), note != null ? el('small', {}) : el('span', { class: 'meter' }, el('i', {})));
          put(cell.firstChild, text);
          if (note != null) put(cell.lastChild, note);
          else cell.lastChild.firstChild.style.width = `${Math.min(100, part * 100)}%`;
        } else put(cell, text);
      });
      return row;
    });
    if (!rows.length) {
      const columns = body.parentNode.tHead.rows[0].cells.length;
      rows.push(el('tr', {}, el('td', { class: 'gone', colspan: columns }, empty)));
    }
    if (rows.length !== body.rows.length || rows.some((row, i) => row !== body.rows[i])) body.replaceChildren(...rows);
  };

  // Each row with the same row of a moment ago.
  const paired = (kind, answer, items, key) => {
    const earlier = rowsBefore[kind].filter((rows) => rows.at >= answer.uptime_ms - MEAN - PERIOD / 2);
    const now = new Map();
    now.at = answer.uptime_ms;
    const pairs = items.map((item) => {
      const row = { ...item, uptime_ms: answer.uptime_ms };
      now.set(key(item), row);
      return [key(item), { row, before: earlier.map((rows) => rows.get(key(item))).find((found) => found) }];
    });
    rowsBefore[kind] = [...earlier, now];
    return pairs;
  };
  const lastFailure = (state, failure) => failure
    ? `${words(failure.reason)}, ${span(Date.parse(state.now) - Date.parse(failure.at))} ago` : '';
  const shownOf = (answer, items, one, many) => answer.total > items.length
    ? `${count(items.length)} of ${count(answer.total)} ${many}` : `${count(answer.total)} ${answer.total === 1 ? one : many}`;

  const showApis = (state, answer) => {
    const most = Math.max(1, ...answer.apis.map((api) => api.tunnels.open));
    const pairs = paired('apis', answer, answer.apis, (api) => JSON.stringify([api.group, api.environment, api.api, api.method, api.path]));
    fill($('apis'), pairs, ({ row, before }) => {
      const per = (read) => perSecond(row, before, read);
      const failed = sum(row.handshakes.failed);
      return [
        ['name', row.api, `${row.path == null ? 'not served any more' : `${row.method} ${row.path || 'every path'}`} \u00b7 ${row.group} \u00b7 ${row.environment}`],
        ['n', count(row.tunnels.open), null, row.tunnels.open / most],
        ['n far', rate(per((x) => x.tunnels.opened))],
        ['n', rate(per((x) => x.from_client.messages))],
        ['n', rate(per((x) => x.from_backend.messages))],
        ['n far', bytes(per((x) => x.from_client.bytes))],
        ['n far', bytes(per((x) => x.from_backend.bytes))],
        [failed ? 'n bad' : 'n', count(failed)],
        ['far quiet', lastFailure(state, row.last_failure)],
      ];
    }, 'No API is served.');
    put($('apis-more'), shownOf(answer, answer.apis, 'API', 'APIs'));
  };

  const showBackends = (state, answer) => {
    const most = Math.max(1, ...answer.backends.map((backend) => backend.tunnels.open));
    const pairs = paired('backends', answer, answer.backends, (backend) => backend.backend);
    fill($('backends'), pairs, ({ row, before }) => {
      const per = (read) => perSecond(row, before, read);
      const [unreached, failed] = [sum(row.connects.failed), sum(row.handshakes.failed)];
      return [
        ['name mono', row.backend],
        ['n', count(row.tunnels.open), null, row.tunnels.open / most],
        ['n far', rate(per((x) => x.connects.tried))],
        [unreached ? 'n bad' : 'n', count(unreached)],
        [failed ? 'n bad' : 'n', count(failed)],
        ['n far', bytes(per((x) => x.from_client.bytes))],
        ['n far', bytes(per((x) => x.from_backend.bytes))],
        ['quiet', lastFailure(state, row.last_failure)],
      ];
    }, 'No API leads to a backend.');
    put($('backends-more'), shownOf(answer, answer.backends, 'backend', 'backends'));
  };

  const showSlow = (answer) => {
    fill($('slow'), answer.tunnels.map((tunnel) => [tunnel.id, tunnel]), (tunnel) => [
      ['mono far', tunnel.id.slice(0, 12) + '\u2026'],
      ['name', tunnel.api, tunnel.group],
      ['mono', tunnel.client],
      ['mono far', tunnel.backend],
      ['n', bytes(tunnel.waiting_for_client_bytes)],
      ['n', bytes(tunnel.waiting_for_backend_bytes)],
      ['n far', span(tunnel.age_ms)],
    ], 'Everybody keeps up.');
    $('slow-more').hidden = answer.total <= answer.tunnels.length;
    put($('slow-more'), answer.total > answer.tunnels.length ? `${count(answer.total)} sockets have bytes waiting` : '');
  };

  const showCores = (state) => {
    const pairs = paired('cores', state, state.cores, (core) => String(core.core));
    fill($('cores'), pairs, ({ row, before }) => [
      ['', String(row.core)],
      ['n', count(row.tunnels)],
      ['n', count(row.edge_connections)],
      ['n', rate(perSecond(row, before, (x) => x.messages))],
      ['n', bytes(perSecond(row, before, (x) => x.bytes))],
      ['n far', rate(perSecond(row, before, (x) => x.turns))],
      ['n far', count(row.buffers_free)],
      ['n far', bytes(row.spill_bytes)],
    ], '');
  };

  // ---- bars

  // Each item: label, numbers side by side, and how many of them are of the last minute.
  const bars = (node, items, empty) => {
    const most = Math.max(1, ...items.flatMap(([, numbers]) => [sum(numbers)]));
    const shown = items.sort((a, b) => sum(b[1]) - sum(a[1]) || (a[0] < b[0] ? -1 : 1)).slice(0, 8).map(([label, numbers, fresh]) => {
      const number = el('span', { class: 'n' }, count(sum(numbers)));
      if (fresh > 0) number.append(el('small', {}, ` +${count(fresh)}`));
      const bar = el('div', { class: 'bar', role: 'listitem' });
      let from = 0;
      for (const n of numbers) {
        const part = el('i', { 'aria-hidden': 'true' });
        part.style.left = `${from}%`;
        part.style.width = `${n / most * 100}%`;
        from += n / most * 100;
        bar.append(part);
      }
      bar.append(el('span', {}, label), number);
      bar.title = `${label}: ${numbers.map((n) => n.toLocaleString('en')).join(' and ')}; ${fresh.toLocaleString('en')} in the last minute`;
      return bar;
    });
    if (!shown.length) shown.push(el('p', { class: 'quiet', role: 'listitem' }, empty));
    if (node.textContent !== shown.map((bar) => bar.textContent).join('')) node.replaceChildren(...shown);
  };
  const CODES = {
    none: 'no code', 1000: 'normal', 1001: 'going away', 1002: 'protocol error', 1003: 'unsupported', 1007: 'bad text',
    1008: 'policy', 1009: 'too large', 1010: 'extension', 1011: 'server error', 1012: 'restart', 1013: 'try later',
    1014: 'bad gateway', 1015: 'TLS',
  };
  const showBars = (state) => {
    const earlier = ago(MINUTE);
    const fresh = (read, label) => Math.max(0, (read(state)[label] || 0) - (read(earlier)[label] || 0));
    const plain = (read) => Object.entries(read(state)).map(([label, n]) => [words(label), [n], fresh(read, label)]);
    bars($('reasons'), plain((s) => s.tunnels.closed), 'No socket has ended yet.');
    const by = state.tunnels.closed_by;
    put($('sides'), Object.keys(by).length ? `by ${Object.entries(by).map(([side, n]) => `${side} ${count(n)}`).join(', ')}` : '');
    bars($('refused'), plain((s) => s.refused), 'Nothing has been refused.');
    const client = (s) => s.tunnels.from_client.close_codes, backend = (s) => s.tunnels.from_backend.close_codes;
    const codes = [...new Set([...Object.keys(client(state)), ...Object.keys(backend(state))])];
    bars($('codes'), codes.map((code) => [
      CODES[code] ? `${code === 'none' ? '' : code + ' '}${CODES[code]}` : code,
      [client(state)[code] || 0, backend(state)[code] || 0],
      fresh(client, code) + fresh(backend, code),
    ]), 'No Close frame yet.');
  };

  // ---- configuration and drains

  const showConfig = (state) => {
    const last = state.reloads.last;
    const since = (at) => `${span(Date.parse(state.now) - Date.parse(at))} ago`;
    const rows = [
      ['generation', String(state.config.generation)],
      ['in force since', since(state.config.since)],
      ['file', state.config.file || 'none: from flags'],
      ['hash', state.config.hash || NONE],
      ['reloads', `${count(state.reloads.succeeded)} taken, ${count(state.reloads.failed)} refused`],
      ['last reload', last ? `${last.result === 'success' ? 'taken' : 'refused'} ${since(last.at)}` : 'none yet'],
    ];
    const list = $('config');
    if (list.children.length !== 2 * rows.length) list.replaceChildren(...rows.flatMap(([name]) => [el('dt', {}, name), el('dd', {})]));
    rows.forEach(([, value], i) => { const node = list.children[2 * i + 1]; put(node, value); node.title = value; });
    list.lastChild.className = last && last.result !== 'success' ? 'bad' : '';
    const complaints = last ? last.complaints : [];
    $('complaints').hidden = !complaints.length;
    if ($('complaints').textContent !== complaints.join('')) $('complaints').replaceChildren(...complaints.map((line) => el('li', {}, line)));
  };

  const showDrains = (state) => {
    const drains = state.drains.slice(-5).reverse();
    $('drains-card').hidden = !drains.length;
    $('drains').replaceChildren(...drains.map((drain) => {
      const part = (n) => `${drain.chosen ? n / drain.chosen * 100 : 0}%`;
      const done = drain.closed + drain.left_by_themselves;
      const closed = el('span', { class: 'closed' }), left = el('span', { class: 'left' });
      closed.style.width = part(drain.closed);
      left.style.width = part(drain.left_by_themselves);
      const track = el('div', { class: 'track', role: 'progressbar', 'aria-valuemin': 0, 'aria-valuemax': drain.chosen, 'aria-valuenow': done, 'aria-label': `drain ${drain.drain}` }, closed, left);
      const ending = drain.cancelled ? 'cancelled' : drain.waiting ? `${count(drain.waiting)} waiting, ${span(drain.time_left_ms)} left` : 'done';
      return el('div', { class: drain.cancelled ? 'drain cancelled' : 'drain' },
        el('div', { class: 'line' }, el('span', {}, `${drain.drain}: ${drain.which}`), el('span', { class: 'quiet' }, `over ${drain.over}`)),
        track,
        el('p', { class: 'quiet' }, `${count(drain.closed)} told to close, ${count(drain.left_by_themselves)} left by themselves, ${ending}; ${count(drain.chosen)} in all`));
    }));
  };

  // ---- who is there

  const pill = (kind, text) => { $('state').className = `state ${kind}`; put($('state-text'), text); };
  const showState = (state) => {
    pill(state.readiness, { ready: 'ready', stopping: 'stopping', starting: 'starting' }[state.readiness] || state.readiness);
    put($('process'), `version ${state.version} \u00b7 process ${state.pid} \u00b7 up ${span(state.uptime_ms)}`);
    document.title = `${count(state.tunnels.open)} open \u00b7 ringgate`;
  };
  const away = (why) => {
    pill('away', 'no answer');
    document.title = 'no answer \u00b7 ringgate';
    $('main').classList.add('stale');
    $('notice').hidden = false;
    put($('notice'), `${why} ${lastAnswer ? `What is shown is from ${lastAnswer.toLocaleTimeString()}.` : ''} Asking again every second.`);
  };

  // ---- asking

  let token = sessionStorage.getItem(TOKEN);
  const ask = async (path) => {
    const answer = await fetch(path, {
      headers: token ? { Authorization: `Bearer ${token}` } : {},
      cache: 'no-store', credentials: 'omit', signal: AbortSignal.timeout(PATIENCE),
    });
    if (answer.status === 401) throw Object.assign(new Error('token'), { token: true });
    const body = await answer.json();
    if (!answer.ok) throw new Error(`The admin API says: ${body.error}.`);
    return body;
  };
  const askForToken = () => {
    forget();
    lastAnswer = null;
    put($('ask-error'), token ? 'That is not the token.' : '');
    token = null;
    sessionStorage.removeItem(TOKEN);
    $('main').hidden = $('notice').hidden = $('api').hidden = true;
    $('ask').hidden = false;
    pill('unknown', 'closed');
    put($('process'), '');
    put($('asked'), '');
    document.title = 'ringgate';
    $('token').focus();
  };

  let timer = 0, asking = false, slow = null;
  const round = async () => {
    if (asking) return;
    asking = true;
    clearTimeout(timer);
    const began = performance.now();
    try {
      const open = samples.length ? samples.at(-1).tunnels.open : 0;
      // With many sockets, looking at each costs the relays something: less often then.
      const late = !slow || open < 50000 || began - slow.at > 5000;
      const state = await ask('v1/state');
      const [apis, backends, tunnels] = await Promise.all([
        ask(`v1/apis?limit=${ROWS}&sort=${encodeURIComponent($('apis-sort').value)}`),
        ask(`v1/backends?limit=${ROWS}&sort=${encodeURIComponent($('backends-sort').value)}`),
        late ? ask('v1/tunnels?sort=waiting&waiting_over=0&limit=8') : slow.tunnels,
      ]);
      if (late) slow = { at: began, tunnels };
      lastAnswer = new Date();
      remember(state);
      $('ask').hidden = $('notice').hidden = true;
      $('main').hidden = $('api').hidden = false;
      $('main').classList.remove('stale');
      showState(state);
      showTiles(state);
      showDrains(state);
      showApis(state, apis);
      showBackends(state, backends);
      showBars(state);
      showConfig(state);
      showSlow(tunnels);
      showCores(state);
      put($('asked'), `asked at ${lastAnswer.toLocaleTimeString()}`);
    } catch (error) {
      if (error.token) return askForToken();
      const unheard = error instanceof TypeError || error.name === 'TimeoutError';
      away(unheard ? 'ringgate does not answer.' : error.message);
    } finally {
      asking = false;
    }
    timer = setTimeout(round, Math.max(50, PERIOD - (performance.now() - began)));
  };

  $('ask').addEventListener('submit', (event) => {
    event.preventDefault();
    token = $('token').value.trim();
    $('token').value = '';
    sessionStorage.setItem(TOKEN, token);
    round();
  });
  // By hand, since a link does not send the token.
  $('api').addEventListener('click', async () => {
    try {
      const text = JSON.stringify(await ask('openapi.json'), null, 2);
      const place = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
      const link = el('a', { href: place, download: 'ringgate-admin.openapi.json' });
      link.click();
      setTimeout(() => URL.revokeObjectURL(place), MINUTE);
    } catch { round(); }
  });
  for (const id of ['apis-sort', 'backends-sort']) $(id).addEventListener('change', () => round());
  document.addEventListener('visibilitychange', () => { if (!document.hidden && $('ask').hidden) round(); });

  const themes = { auto: 'as the system has them', dark: 'dark', light: 'light' };
  const setTheme = (name) => {
    if (name === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    put($('theme'), name);
    $('theme').setAttribute('aria-label', `Colours: ${themes[name]}`);
    sessionStorage.setItem(THEME, name);
  };
  $('theme').addEventListener('click', () => {
    const names = Object.keys(themes);
    setTheme(names[(names.indexOf($('theme').textContent) + 1) % names.length]);
  });
  setTheme(sessionStorage.getItem(THEME) in themes ? sessionStorage.getItem(THEME) : 'auto');
  round();
})();
