"""Sans-IO IMAP server core (RFC 9051, and RFC 3501 for clients that do not enable IMAP4rev2).

What it does: bytes in, typed commands out; values in, bytes out. No socket, no clock, no storage. Called by
`endpoints/imap.py` (bytes) and `services/imap/*` (values).

How a session drives the core::

    core = ImapSession(limits=Limits(), tls=True)          # protocol.imap.session
    write(core.greeting("mssante ready"))                   # * OK [CAPABILITY ...] ...
    while True:
        event = core.next_event()
        if event is NEED_DATA:                              # all buffered octets are used
            core.receive(await read(core.read_size))        # at most read_size octets: bounds memory before login
        elif isinstance(event, Command):                    # event.tag (bytes), event.name ("UID FETCH"), event.value
            ...                                             # run it, write answers, then
            write(tagged(event.tag, Completion(...)))       # protocol.imap.encode
        elif isinstance(event, LiteralWanted):              # a literal was announced
            #   event.value is None: a small literal, held by the core: write(core.accept_literal())
            #   event.value is an Append: check folder, quota and event.size first, then
            write(core.accept_literal())                    # b"+ ...\\r\\n", or b"" when the client does not wait
            #   or refuse: write(encode_fault(CommandRefused("...", code="TOOBIG"), event.tag)); core.refuse_literal()
        elif isinstance(event, LiteralChunk):               # event.data: octets of the APPEND, in order
            ...                                             # the last chunk is followed by its Command(value=Append)
        elif isinstance(event, Line):                       # event.data: the line asked by expect_line(), no CRLF
            ...
        elif isinstance(event, ClientFault | CommandRefused): # malformed, or not allowed now; stays in sync
            write(encode_fault(event, event.tag))           # tag BAD/NO ...; drop a half-staged APPEND of that tag
        elif isinstance(event, SessionEnd):
            write(encode_fault(event, None)); close()       # * BYE ...

State changes are told to the core by the caller, after the command succeeded: `core.logged_in()`,
`core.selected(read_only=...)`, `core.unselected()`, `core.logged_out()`, `core.enable(names) -> newly enabled`,
`core.start_tls() -> bool` (False: the client sent octets before TLS, close). `core.state`, `core.rev2`, `core.utf8` and
`core.condstore` tell how to encode. IDLE and AUTHENTICATE: `core.expect_line()`, write `+ ...`, wait for `Line`.

Guarantees: the same octets give the same events however they are cut; no input raises; what is held
is bounded (`Limits`); a refused non-synchronising literal is read and dropped, never taken for commands.
"""
