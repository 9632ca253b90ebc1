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
    process([[channel]]) {
        if (channel) for (const sample of channel) this.samples.push(Math.max(-1, Math.min(1, sample)) * 32767);
        if (this.samples.length >= 800) this.port.postMessage(Int16Array.from(this.samples.splice(0)));
        return true;
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
        ear.port.onmessage = ({ data }) => send(`sound/${phone}/${call}`, data);
        audio.createMediaStreamSource(stream).connect(ear);
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

// A phone made of JsSIP.
class JsSipPhone {
    sessions = [];
    calls = 0;

    constructor(about) {
        this.about = about;
        this.socket = new JsSIP.WebSocketInterface(about.ws);
        this.ua = new JsSIP.UA({
            sockets: [this.socket], uri: about.uri, password: about.password, register: true, register_expires: 60,
            connection_recovery_min_interval: 1, connection_recovery_max_interval: 2,
        });
        this.ua.on('registered', () => this.tell({ event: 'registered' }));
        this.ua.on('registrationFailed', ({ cause }) => this.tell({ event: 'refused', detail: cause }));
        this.ua.on('newRTCSession', ({ originator, session }) => this.adopt(originator, session));
    }

    tell(event) { tell({ phone: this.about.user, ...event }); }
    get last() { return this.sessions.at(-1); }
    options() { return { mediaStream: tone(this.about.hz), pcConfig }; }

    adopt(originator, session) {
        const call = String(++this.calls);
        const happened = (event, detail) => this.tell({ event, call, detail });
        const over = ({ cause, message }) => {
            this.sessions = this.sessions.filter((other) => other !== session);
            happened('ended', [cause, message?.status_code, message?.reason_phrase].filter(Boolean).join(' '));
        };
        this.sessions.push(session);
        if (originator === 'remote') happened('incoming');
        if (session.connection) listen(session.connection, this.about.user, call);
        else session.on('peerconnection', ({ peerconnection }) => listen(peerconnection, this.about.user, call));
        session.on('sdp', (sdp) => { if (sdp.originator === 'local') sdp.sdp = keepCodecs(sdp.sdp, this.about.codecs); });
        session.on('progress', ({ originator: by }) => { if (by === 'remote') happened('ringing'); });
        session.on('confirmed', () => happened('established'));
        session.on('ended', over);
        session.on('failed', over);
        session.on('newDTMF', ({ originator: by, dtmf }) => { if (by === 'remote') this.tell({ event: 'digit', call, detail: dtmf.tone }); });
        session.on('refer', ({ accept }) => accept(null, this.options()));
        // A call that takes the place of this one is not asked about.
        session.on('replaces', ({ accept }) => accept((replacing) => setTimeout(() => replacing.answer(this.options()))));
        for (const step of ['createoffer', 'createanswer', 'setlocaldescription', 'setremotedescription']) {
            session.on(`peerconnection:${step}failed`, (error) => console.error(this.about.user, step, String(error)));
        }
    }

    register() { this.ua.start(); }
    call({ uri }) { this.ua.call(uri, this.options()); }
    answer() { this.last.answer(this.options()); }
    hangUp() { this.last.terminate(); }
    hold() { return this.agreed((done) => this.last.hold({}, done)); }
    resume() { return this.agreed((done) => this.last.unhold({}, done)); }
    agreed(change) {
        return new Promise((done, fail) => { if (!change(done)) fail('another change of the call is under way'); });
    }
    press({ digits }) { this.last.sendDTMF(digits, { transportType: 'RFC2833', duration: 100, interToneGap: 100 }); }
    transfer({ uri }) { this.refer(this.last, uri); }
    attendedTransfer() {
        const [first, second] = this.sessions.slice(-2);
        this.refer(first, second.remote_identity.uri, second);
    }
    refer(session, target, replaces) {
        session.refer(target, { replaces, eventHandlers: { accepted: () => session.terminate() } });
    }
    stats() { return stats(this.last.connection); }

    // The network changed: a new connection to the server, registered again, and new ways for the media.
    reconnect() {
        const session = this.last;
        this.ua.once('registered', () => session?.renegotiate({ rtcOfferConstraints: { iceRestart: true } }, () => this.tell({ event: 'renegotiated' })));
        this.socket._ws.close();
    }
}

const phones = {};
const verbs = { JsSIP: JsSipPhone };

async function run({ id, phone, verb, about }) {
    if (verb === 'make') phones[phone] = new verbs[about.library](about);
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

main();
