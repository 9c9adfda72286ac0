//! Point-to-point communication (MPI-5.0 §3).

use crate::base::constant::handle;
use crate::base::error::Result;
use crate::base::id::{CommId, DatatypeId, MessageId, PeerId, RequestId};
use crate::engine::{Message, Outcome, Pattern, Started};
use crate::fail;
use crate::mpi::pt2pt::{data, received, sent, Begun, Mode, ReceiveArgs, SendArgs};
use crate::mpi::request::{Active, Half, Persistent, Request, Template};
use crate::mpi::{Matched, Status, World};
use crate::runtime::Runtime;

#[inline]
fn blocking_send(rt: &Runtime, args: SendArgs) -> Result<()> {
    match rt.with(|w| w.send_at_once(&args, false).is_some()) {
        true => Ok(()),
        false => send_and_wait(rt, &args),
    }
}

#[inline(never)]
fn send_and_wait(rt: &Runtime, args: &SendArgs) -> Result<()> {
    let begun = rt.with(|w| {
        if args.mode == Mode::Buffered {
            w.send_any(args)
        } else {
            w.send_start(args, false)
        }
    })?;
    match begun {
        Begun::Nothing | Begun::Parcel(_) => Ok(()),
        Begun::Engine(started) => {
            let outcome = end(rt, started)?;
            match sent(&outcome, args.comm).1 {
                None => Ok(()),
                Some(error) => Err(error),
            }
        }
    }
}

#[inline(always)]
fn end(rt: &Runtime, started: Started) -> Result<Outcome> {
    match started {
        Started::Done(outcome) => Ok(outcome),
        Started::Pending(ticket) => rt.wait_ticket(ticket),
    }
}

fn nonblocking_send(rt: &Runtime, args: SendArgs) -> Result<RequestId> {
    rt.with(|w| {
        if let Some(active) = w.send_at_once(&args, true) {
            return Ok(w.request_for_active(active, args.comm, true));
        }
        let begun = w.send_any(&args)?;
        Ok(w.request_for(begun, args.comm, true))
    })
}

fn persistent(rt: &Runtime, comm: CommId, template: Template) -> Result<RequestId> {
    let persistent = Persistent {
        template,
        comm,
        active: None,
    };
    Ok(rt.with(|w| {
        w.requests
            .table
            .insert(Request::Persistent(Box::new(persistent)))
    }))
}

fn persistent_send(rt: &Runtime, args: SendArgs) -> Result<RequestId> {
    let template = rt.with(|w| {
        let target = w.checked_target(&args)?;
        let data = data(&w.types, args.buffer, args.count, args.datatype)?;
        Ok(Template::Send {
            mode: args.mode,
            data,
            target,
            tag: args.tag,
        })
    })?;
    persistent(rt, args.comm, template)
}

macro_rules! sends {
    ($($mode:ident: $blocking:ident, $nonblocking:ident, $persistent:ident;)*) => {$(
        #[doc = concat!("Blocking send, mode ", stringify!($mode), ".")]
        #[inline]
        pub fn $blocking(
            rt: &Runtime, buffer: *mut u8, count: i64, datatype: DatatypeId, dest: i32, tag: i32, comm: CommId,
        ) -> Result<()> {
            blocking_send(rt, SendArgs { mode: Mode::$mode, buffer, count, datatype, dest, tag, comm })
        }

        #[doc = concat!("Nonblocking send, mode ", stringify!($mode), ".")]
        #[inline]
        pub fn $nonblocking(
            rt: &Runtime, buffer: *mut u8, count: i64, datatype: DatatypeId, dest: i32, tag: i32, comm: CommId,
        ) -> Result<RequestId> {
            nonblocking_send(rt, SendArgs { mode: Mode::$mode, buffer, count, datatype, dest, tag, comm })
        }

        #[doc = concat!("Persistent send, mode ", stringify!($mode), ".")]
        pub fn $persistent(
            rt: &Runtime, buffer: *mut u8, count: i64, datatype: DatatypeId, dest: i32, tag: i32, comm: CommId,
        ) -> Result<RequestId> {
            persistent_send(rt, SendArgs { mode: Mode::$mode, buffer, count, datatype, dest, tag, comm })
        }
    )*};
}

sends! {
    Standard: send, isend, send_init;
    Buffered: bsend, ibsend, bsend_init;
    Synchronous: ssend, issend, ssend_init;
    Ready: rsend, irsend, rsend_init;
}

/// Blocking receive.
#[inline]
pub fn recv(
    rt: &Runtime,
    buffer: *mut u8,
    count: i64,
    datatype: DatatypeId,
    source: i32,
    tag: i32,
    comm: CommId,
) -> Result<Status> {
    let args = ReceiveArgs {
        buffer,
        count,
        datatype,
        source,
        tag,
        comm,
    };
    if rt.with(|w| w.block(&args)) {
        let outcome = rt.wait_blocking();
        return status_of(&outcome, comm);
    }
    receive_and_wait(rt, &args)
}

#[inline(never)]
fn receive_and_wait(rt: &Runtime, args: &ReceiveArgs) -> Result<Status> {
    match rt.with(|w| w.receive_start(args))? {
        Begun::Nothing | Begun::Parcel(_) => Ok(Status::PROC_NULL),
        Begun::Engine(started) => finish_receive(rt, started, args.comm),
    }
}

#[inline]
fn finish_receive(rt: &Runtime, started: Started, comm: CommId) -> Result<Status> {
    let outcome = end(rt, started)?;
    status_of(&outcome, comm)
}

#[inline]
fn status_of(outcome: &Outcome, comm: CommId) -> Result<Status> {
    match received(outcome, comm) {
        (status, None) => Ok(status),
        (status, Some(error)) => Err(error.with_received(status.source, status.tag, status.bytes)),
    }
}

/// Nonblocking receive.
#[inline]
pub fn irecv(
    rt: &Runtime,
    buffer: *mut u8,
    count: i64,
    datatype: DatatypeId,
    source: i32,
    tag: i32,
    comm: CommId,
) -> Result<RequestId> {
    let args = ReceiveArgs {
        buffer,
        count,
        datatype,
        source,
        tag,
        comm,
    };
    rt.with(|w| {
        if let Some(ticket) = w.post(&args) {
            return Ok(w.request_for_active(Active::Ticket(ticket), comm, false));
        }
        let begun = w.receive_start(&args)?;
        Ok(w.request_for(begun, comm, false))
    })
}

/// Persistent receive.
pub fn recv_init(
    rt: &Runtime,
    buffer: *mut u8,
    count: i64,
    datatype: DatatypeId,
    source: i32,
    tag: i32,
    comm: CommId,
) -> Result<RequestId> {
    let template = rt.with(|w| {
        let pattern = w.pattern(comm, source, tag)?;
        Ok(Template::Receive {
            data: data(&w.types, buffer, count, datatype)?,
            pattern,
        })
    })?;
    persistent(rt, comm, template)
}

/// Starts a receive and a send; everything is checked before anything starts.
fn start_both(
    rt: &Runtime,
    send: &SendArgs,
    receive: &ReceiveArgs,
    tracked: bool,
) -> Result<(Begun, Begun)> {
    rt.with(|w| {
        w.checked_target(send)?;
        data(&w.types, send.buffer, send.count, send.datatype)?;
        let receive = w.receive_start(receive)?;
        Ok((receive, w.send_start(send, tracked)?))
    })
}

/// Nonblocking send and receive as one request.
#[allow(clippy::too_many_arguments)]
pub fn isendrecv(
    rt: &Runtime,
    sendbuf: *mut u8,
    sendcount: i64,
    sendtype: DatatypeId,
    dest: i32,
    sendtag: i32,
    recvbuf: *mut u8,
    recvcount: i64,
    recvtype: DatatypeId,
    source: i32,
    recvtag: i32,
    comm: CommId,
) -> Result<RequestId> {
    let mode = Mode::Standard;
    let send = SendArgs {
        mode,
        buffer: sendbuf,
        count: sendcount,
        datatype: sendtype,
        dest,
        tag: sendtag,
        comm,
    };
    let receive = ReceiveArgs {
        buffer: recvbuf,
        count: recvcount,
        datatype: recvtype,
        source,
        tag: recvtag,
        comm,
    };
    pair(rt, send, receive, Vec::new())
}

fn pair(rt: &Runtime, send: SendArgs, receive: ReceiveArgs, packed: Vec<u8>) -> Result<RequestId> {
    let comm = send.comm;
    let (receive, send) = start_both(rt, &send, &receive, true)?;
    let halves = [Half::new(send, comm, true), Half::new(receive, comm, false)];
    Ok(rt.with(|w| {
        w.requests
            .table
            .insert(Request::Pair(Box::new(halves), packed))
    }))
}

/// The buffer's elements as one run of bytes.
fn packed(rt: &Runtime, buffer: *mut u8, count: i64, datatype: DatatypeId) -> Result<Vec<u8>> {
    rt.with(|w| {
        let data = data(&w.types, buffer, count, datatype)?;
        let mut packed = vec![0u8; data.bytes];
        data.read(0, &mut packed);
        Ok(packed)
    })
}

/// The same with one buffer: what is sent is packed first.
#[allow(clippy::too_many_arguments)]
pub fn isendrecv_replace(
    rt: &Runtime,
    buffer: *mut u8,
    count: i64,
    datatype: DatatypeId,
    dest: i32,
    sendtag: i32,
    source: i32,
    recvtag: i32,
    comm: CommId,
) -> Result<RequestId> {
    let mut packed = packed(rt, buffer, count, datatype)?;
    let send = SendArgs {
        mode: Mode::Standard,
        buffer: packed.as_mut_ptr(),
        count: packed.len() as i64,
        datatype: handle::BYTE,
        dest,
        tag: sendtag,
        comm,
    };
    pair(
        rt,
        send,
        ReceiveArgs {
            buffer,
            count,
            datatype,
            source,
            tag: recvtag,
            comm,
        },
        packed,
    )
}

/// Send and receive at once.
#[allow(clippy::too_many_arguments)]
pub fn sendrecv(
    rt: &Runtime,
    sendbuf: *mut u8,
    sendcount: i64,
    sendtype: DatatypeId,
    dest: i32,
    sendtag: i32,
    recvbuf: *mut u8,
    recvcount: i64,
    recvtype: DatatypeId,
    source: i32,
    recvtag: i32,
    comm: CommId,
) -> Result<Status> {
    let receive = ReceiveArgs {
        buffer: recvbuf,
        count: recvcount,
        datatype: recvtype,
        source,
        tag: recvtag,
        comm,
    };
    let send = SendArgs {
        mode: Mode::Standard,
        buffer: sendbuf,
        count: sendcount,
        datatype: sendtype,
        dest,
        tag: sendtag,
        comm,
    };
    let (receive, send) = start_both(rt, &send, &receive, false)?;
    let status = match receive {
        Begun::Nothing | Begun::Parcel(_) => Ok(Status::PROC_NULL),
        Begun::Engine(started) => finish_receive(rt, started, comm),
    };
    if let Begun::Engine(started) = send {
        let outcome = end(rt, started)?;
        if let Some(error) = sent(&outcome, comm).1 {
            return Err(error);
        }
    }
    status
}

/// The same with one buffer: what is sent is packed first.
#[allow(clippy::too_many_arguments)]
pub fn sendrecv_replace(
    rt: &Runtime,
    buffer: *mut u8,
    count: i64,
    datatype: DatatypeId,
    dest: i32,
    sendtag: i32,
    source: i32,
    recvtag: i32,
    comm: CommId,
) -> Result<Status> {
    let mut packed = packed(rt, buffer, count, datatype)?;
    let (address, bytes) = (packed.as_mut_ptr(), packed.len() as i64);
    sendrecv(
        rt,
        address,
        bytes,
        handle::BYTE,
        dest,
        sendtag,
        buffer,
        count,
        datatype,
        source,
        recvtag,
        comm,
    )
}

/// Waits for a matching message, which stays where it is.
pub fn probe(rt: &Runtime, source: i32, tag: i32, comm: CommId) -> Result<Status> {
    let Some((context, pattern, peer)) = rt.with(|w| w.pattern(comm, source, tag))? else {
        return Ok(Status::PROC_NULL);
    };
    rt.until(|w| w.look(context, pattern, peer))
}

/// Is there a matching message? Looks once, after one turn of progress.
pub fn iprobe(rt: &Runtime, source: i32, tag: i32, comm: CommId) -> Result<Option<Status>> {
    let Some((context, pattern, peer)) = rt.with(|w| w.pattern(comm, source, tag))? else {
        return Ok(Some(Status::PROC_NULL));
    };
    if let Some(found) = rt.with(|w| w.look(context, pattern, peer)) {
        return found.map(Some);
    }
    rt.poke();
    rt.with(|w| w.look(context, pattern, peer)).transpose()
}

/// Takes a message of this pattern; an error when none can come any more.
fn taken(
    w: &mut World,
    context: u64,
    pattern: Pattern,
    peer: Option<PeerId>,
) -> Option<Result<(u32, i32, Message)>> {
    match w.engine.as_mut()?.take(context, pattern) {
        Some(found) => Some(Ok(found)),
        None => match w.look(context, pattern, peer)? {
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        },
    }
}

fn matched(
    rt: &Runtime,
    comm: CommId,
    context: u64,
    found: (u32, i32, Message),
) -> (MessageId, Status) {
    let (source, tag, message) = found;
    let status = Status {
        source: source as i32,
        tag,
        bytes: message.total as u64,
        ..Status::EMPTY
    };
    (
        rt.with(|w| {
            w.messages.insert(Matched {
                comm,
                context,
                source,
                tag,
                message,
            })
        }),
        status,
    )
}

/// Waits for a matching message and takes it.
pub fn mprobe(rt: &Runtime, source: i32, tag: i32, comm: CommId) -> Result<(MessageId, Status)> {
    let Some((context, pattern, peer)) = rt.with(|w| w.pattern(comm, source, tag))? else {
        return Ok((handle::MESSAGE_NO_PROC, Status::PROC_NULL));
    };
    let found = rt.until(|w| taken(w, context, pattern, peer))?;
    Ok(matched(rt, comm, context, found))
}

/// Takes a matching message if there is one.
pub fn improbe(
    rt: &Runtime,
    source: i32,
    tag: i32,
    comm: CommId,
) -> Result<Option<(MessageId, Status)>> {
    let Some((context, pattern, peer)) = rt.with(|w| w.pattern(comm, source, tag))? else {
        return Ok(Some((handle::MESSAGE_NO_PROC, Status::PROC_NULL)));
    };
    rt.poke();
    let found = rt.with(|w| taken(w, context, pattern, peer)).transpose()?;
    Ok(found.map(|found| matched(rt, comm, context, found)))
}

fn receive_taken(
    rt: &Runtime,
    buffer: *mut u8,
    count: i64,
    datatype: DatatypeId,
    message: MessageId,
) -> Result<(Begun, CommId)> {
    if message == handle::MESSAGE_NO_PROC {
        return Ok((Begun::Nothing, handle::COMM_SELF));
    }
    rt.with(|w| {
        if w.messages.get(message).is_none() {
            fail!(
                Request,
                "message {:#x} does not exist (already received?)",
                message.0
            );
        }
        let data = data(&w.types, buffer, count, datatype)?;
        let Some(taken) = w.messages.remove(message) else {
            fail!(Request, "no such message")
        };
        let started = w.engine()?.receive_message(
            data,
            taken.context,
            taken.source,
            taken.tag,
            taken.message,
        );
        Ok((Begun::Engine(started), taken.comm))
    })
}

/// Receives a message taken by a matched probe.
pub fn mrecv(
    rt: &Runtime,
    buffer: *mut u8,
    count: i64,
    datatype: DatatypeId,
    message: MessageId,
) -> Result<Status> {
    match receive_taken(rt, buffer, count, datatype, message)? {
        (Begun::Nothing | Begun::Parcel(_), _) => Ok(Status::PROC_NULL),
        (Begun::Engine(started), comm) => finish_receive(rt, started, comm),
    }
}

/// The same, nonblocking.
pub fn imrecv(
    rt: &Runtime,
    buffer: *mut u8,
    count: i64,
    datatype: DatatypeId,
    message: MessageId,
) -> Result<RequestId> {
    let (begun, comm) = receive_taken(rt, buffer, count, datatype, message)?;
    Ok(rt.with(|w| w.request_for(begun, comm, false)))
}

/// Attaches a buffer for buffered sends; `size` in bytes.
pub fn buffer_attach(rt: &Runtime, buffer: *mut u8, size: i64) -> Result<()> {
    rt.with(|w| w.buffered.attach(buffer, size))
}

/// Waits until all buffered messages have left, then gives the buffer back: address and size.
pub fn buffer_detach(rt: &Runtime) -> Result<(*mut u8, i64)> {
    rt.until(|w| w.sweep_buffered().then_some(()));
    rt.with(|w| w.buffered.detach())
}

/// Waits until all buffered messages have left.
pub fn buffer_flush(rt: &Runtime) -> Result<()> {
    rt.until(|w| w.sweep_buffered().then_some(()));
    Ok(())
}
