// The phones of one browser: commands come from the test, events and sound go back to it.
'use strict';

// Everything is told in the order in which it happened.
let told = Promise.resolve();
const send = (path, body) => { told = told.then(() => fetch(path, { method: 'POST', body })).catch(() => {}); };
const tell = (event) => send('event', JSON.stringify(event));

// At the rate the sound is judged at.
const audio = new AudioContext({ sampleRate: 8000 });
const EAR = `registerProcessor('ear', class extends AudioWorkletProcessor {
    samples = [];
    wanted = true;
    constructor() { super(); this.port.onmessage = () => { this.wanted = false; }; }
    process([[channel]]) {
        if (channel) for (const sample of channel) this.samples.push(Math.max(-1, Math.min(1, sample)) * 32767);
        if (this.samples.length >= 800) this.port.postMessage(Int16Array.from(this.samples.splice(0)));
        return this.wanted;
    }
})`;

// Its own tone instead of a microphone.
function tone(hz) {
    const [source, level, out] = [audio.createOscillator(), audio.createGain(), audio.createMediaStreamDestination()];
    source.frequency.value = hz;
    level.gain.value = 0.5;
    source.connect(level).connect(out);
    source.start();
    return out.stream;
}

function listen(connection, phone, call) {
    connection.addEventListener('track', ({ track }) => {
        const stream = new MediaStream([track]);
        // Chromium pulls remote sound only for an element that plays it.
        const player = new Audio();
        player.muted = true;
        player.srcObject = stream;
        player.play();
        const ear = new AudioWorkletNode(audio, 'ear', { numberOfOutputs: 0 });
        const source = audio.createMediaStreamSource(stream);
        source.connect(ear);
        ear.port.onmessage = ({ data }) => {
            if (connection.connectionState !== 'closed') return send(`sound/${phone}/${call}`, data);
            // Else every call so far would be listened to for good.
            ear.port.postMessage('enough');
            source.disconnect();
            player.srcObject = null;
        };
        connection.addEventListener('connectionstatechange', () => tell({ phone, call, media: connection.connectionState }));
    });
}

// The SDP with only these codecs (and telephone events) left in it.
function keepCodecs(sdp, names) {
    if (!names) return sdp;
    const wanted = [...names, 'telephone-event'].map((name) => name.toLowerCase());
    const dropped = [...sdp.matchAll(/^a=rtpmap:(\d+) ([^/]+)/gm)]
        .filter(([, , name]) => !wanted.includes(name.toLowerCase())).map(([, type]) => type);
    return sdp.split('\r\n')
        .filter((line) => !dropped.includes(line.match(/^a=(?:rtpmap|fmtp|rtcp-fb):(\d+)/)?.[1]))
        .map((line) => line.startsWith('m=audio') ? line.split(' ').filter((word, at) => at < 3 || !dropped.includes(word)).join(' ') : line)
        .join('\r\n');
}

async function stats(connection) {
    const found = {};
    const reports = await connection.getStats();
    for (const report of reports.values()) {
        if (report.type === 'inbound-rtp') Object.assign(found, { received: report.packetsReceived, lost: report.packetsLost, codec: reports.get(report.codecId)?.mimeType });
        if (report.type === 'outbound-rtp') found.sent = report.packetsSent;
        if (report.type === 'transport') Object.assign(found, { dtls: report.dtlsState, ice: report.iceState, srtp: report.srtpCipher });
    }
    return found;
}

const pcConfig = { iceServers: [], rtcpMuxPolicy: 'require' };

const phones = {};
const makes = {};

async function run({ id, phone, verb, about }) {
    if (verb === 'make') phones[phone] = new makes[about.library](about);
    else return phones[phone][verb](about ?? {});
    return null;
}

async function main() {
    await audio.audioWorklet.addModule(URL.createObjectURL(new Blob([EAR], { type: 'text/javascript' })));
    tell({ event: 'ready' });
    for (;;) {
        const command = await (await fetch('next')).json();
        if (!command) continue;
        Promise.resolve().then(() => run(command))
            .then((value) => tell({ reply: command.id, value: value ?? null }))
            .catch((error) => tell({ reply: command.id, error: String(error) }));
    }
}

window.addEventListener('load', main);
