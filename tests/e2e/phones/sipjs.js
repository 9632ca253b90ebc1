// A phone made of SIP.js.
'use strict';

makes.SIPjs = class {
    sessions = [];
    calls = 0;

    constructor(about) {
        this.about = about;
        this.agent = new SIP.UserAgent({
            uri: SIP.UserAgent.makeURI(about.uri), authorizationUsername: about.user, authorizationPassword: about.password,
            transportOptions: { server: about.ws }, logLevel: 'error',
            // What it sends is its tone.
            sessionDescriptionHandlerFactory: SIP.Web.defaultSessionDescriptionHandlerFactory(async () => tone(about.hz)),
            sessionDescriptionHandlerFactoryOptions: { peerConnectionConfiguration: pcConfig, iceGatheringTimeout: 1000 },
            delegate: { onInvite: (invitation) => this.arrived(invitation) },
        });
        this.modifiers = [async (description) => ({ type: description.type, sdp: keepCodecs(description.sdp, about.codecs) })];
    }

    tell(event) { tell({ phone: this.about.user, ...event }); }
    get last() { return this.sessions.at(-1); }
    options() { return { sessionDescriptionHandlerModifiers: this.modifiers }; }

    adopt(session) {
        const call = String(++this.calls);
        const happened = (event, detail) => this.tell({ event, call, detail });
        this.sessions.push(session);
        session.stateChange.addListener((state) => {
            if (state === 'Established') happened('established');
            if (state !== 'Terminated') return;
            this.sessions = this.sessions.filter((other) => other !== session);
            happened('ended', session.why ?? 'terminated');
        });
        session.delegate = {
            onSessionDescriptionHandler: (handler) => listen(handler.peerConnection, this.about.user, call),
            onRefer: async (referral) => {
                await referral.accept();
                this.invite(referral.makeInviter(this.options()));
            },
        };
        return happened;
    }

    arrived(invitation) {
        this.adopt(invitation)('incoming');
        // A call that takes the place of another one is not asked about.
        if (invitation.replacee) invitation.accept(this.options());
    }

    invite(inviter) {
        const happened = this.adopt(inviter);
        return inviter.invite({
            requestDelegate: {
                onProgress: ({ message }) => { if (message.statusCode > 100) happened('ringing'); },
                onReject: ({ message }) => { inviter.why = `${message.statusCode} ${message.reasonPhrase}`; },
            },
        });
    }

    async register() {
        await this.agent.start();
        const registerer = new SIP.Registerer(this.agent, { expires: 60 });
        registerer.stateChange.addListener((state) => { if (state === 'Registered') this.tell({ event: 'registered' }); });
        const onReject = ({ message }) => this.tell({ event: 'refused', detail: `${message.statusCode} ${message.reasonPhrase}` });
        await registerer.register({ requestDelegate: { onReject } });
    }

    async call({ uri }) { await this.invite(new SIP.Inviter(this.agent, SIP.UserAgent.makeURI(uri), this.options())); }
    async answer() { await this.last.accept(this.options()); }
    async hangUp() {
        if (this.last.state === 'Established') await this.last.bye();
        else await (this.last.cancel ?? this.last.reject).call(this.last);
    }
    hold() { return this.agreed(true); }
    resume() { return this.agreed(false); }
    agreed(hold) {
        return new Promise((done, fail) => this.last.invite({
            sessionDescriptionHandlerOptions: { hold }, sessionDescriptionHandlerModifiers: this.modifiers,
            requestDelegate: { onAccept: () => done(), onReject: ({ message }) => fail(message.statusCode) },
        }).catch(fail));
    }
    press({ digits }) { this.last.sessionDescriptionHandler.sendDtmf(digits, { duration: 100, interToneGap: 100 }); }
    async transfer({ uri }) { await this.refer(this.last, SIP.UserAgent.makeURI(uri)); }
    async attendedTransfer() { await this.refer(...this.sessions.slice(-2)); }
    async refer(session, target) {
        const done = ({ request }) => { if (/^SIP\/2.0 2/.test(request.body)) session.bye(); };
        await session.refer(target, { onNotify: async (notification) => { await notification.accept(); done(notification); } });
    }
    stats() { return stats(this.last.sessionDescriptionHandler.peerConnection); }
};
