// A phone made of JsSIP.
'use strict';

makes.JsSIP = class {
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
};
