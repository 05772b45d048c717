//! A service that multiplies, and four clients that call it. The service is killed in the middle and started again:
//! calls in flight fail at once, the clients make them again, and every answer is right.
//!
//! Usage: request_reply [CALLS]. Each client makes 20000 calls by default; it starts the processes itself.

use fdring::call::{CallError, Caller, CallerOptions, Service};
use std::collections::VecDeque;
use std::error::Error;
use std::io::{BufRead, BufReader, ErrorKind, Write, copy, sink, stdin, stdout};
use std::process::{Child, ChildStdout, Command, Stdio, exit};
use std::thread;
use std::time::{Duration, Instant};

const CLIENTS: usize = 4;
/// The calls that a client has in flight.
const AT_ONCE: usize = 16;
/// How long a call may take, with the restart of the service.
const DEADLINE: Duration = Duration::from_secs(10);
const USAGE: &str = "usage: request_reply [CALLS]";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [] => run(20_000),
        [role, address] if role == "service" => {
            end_with_parent();
            serve(address)
        }
        [role, address, calls] if role == "client" => {
            end_with_parent();
            call(address, calls.parse().map_err(|_| USAGE)?)
        }
        [calls] => run(calls.parse().map_err(|_| USAGE)?),
        _ => Err(USAGE.into()),
    }
}

/// Starts everybody, kills the service once the first client is half through, and starts another.
fn run(calls: u64) -> Result<(), Box<dyn Error>> {
    let calls = calls.max(2); // somebody is to be half through
    let address = format!("@fdring-request-reply-{}", std::process::id());
    let begun = Instant::now();
    let mut service = start(&["service", &address])?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(start(&["client", &address, &calls.to_string()])?);
    }
    let mut said: Vec<_> = clients.iter_mut().filter_map(|client| client.stdout.take()).map(BufReader::new).collect();
    heard(&mut said[0])?;
    service.kill()?;
    service.wait()?;
    let mut successor = start(&["service", &address])?;
    let (mut answered, mut repeated) = (0, 0);
    for (index, said) in said.iter_mut().enumerate() {
        if index != 0 {
            heard(said)?; // half through
        }
        let counts = heard(said)?;
        let (right, again) = counts.split_once(' ').ok_or("a client has no result; see what it complains of")?;
        answered += right.parse::<u64>()?;
        repeated += again.parse::<u64>()?;
    }
    for mut client in clients {
        client.wait()?;
    }
    successor.kill()?;
    successor.wait()?;
    say(&format!(
        "{answered} calls of {CLIENTS} clients in {:.1} s: the service was killed once, {repeated} calls in flight \
         were made again, and every answer was right",
        begun.elapsed().as_secs_f64()
    ))
}

/// Starts a process. It ends when this one does, or drops it.
fn start(args: &[&str]) -> Result<Child, Box<dyn Error>> {
    let (mut command, pipe) = (Command::new(std::env::current_exe()?), Stdio::piped);
    Ok(command.args(args).stdin(pipe()).stdout(pipe()).spawn()?)
}

/// Ends this process once nobody holds the other end of its input, as after the death of the one that has started it.
fn end_with_parent() {
    thread::spawn(|| {
        let _ = copy(&mut stdin(), &mut sink());
        exit(1);
    });
}

fn heard(said: &mut BufReader<ChildStdout>) -> Result<String, Box<dyn Error>> {
    let mut line = String::new();
    said.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// Multiplies the two numbers of each request; refuses what is no request.
fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let mut service = Service::listen(address)?;
    loop {
        let request = service.receive()?;
        let numbers = request.split_at_checked(8).and_then(|(a, b)| Some((number(a)?, number(b)?)));
        let answered = match numbers {
            Some((a, b)) => request.reply(&a.wrapping_mul(b).to_le_bytes()),
            None => request.refuse("a request is two numbers of 8 bytes"),
        };
        if let Err(error) = answered {
            eprintln!("{error}"); // this caller is gone, and the others are not
        }
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// Calls, and calls again if an answer was lost: to multiply twice does no harm.
fn call(address: &str, calls: u64) -> Result<(), Box<dyn Error>> {
    let mut caller = CallerOptions::new().patience(DEADLINE).connect(address)?;
    let (mut answered, mut repeated) = (0, 0);
    let (mut due, mut flight): (VecDeque<u64>, _) = ((0..calls).collect(), VecDeque::new());
    while answered < calls {
        while flight.len() < AT_ONCE {
            let Some(n) = due.pop_front() else { break };
            flight.push_back((n, caller.send(&question(n), DEADLINE)?));
        }
        let Some((n, mut ticket)) = flight.pop_front() else { break };
        match caller.wait(&mut ticket) {
            Ok(reply) if reply.as_deref().and_then(number) == Some(n.wrapping_mul(n + 1)) => {
                answered += 1;
                if answered == calls / 2 {
                    say("half through")?;
                }
            }
            Ok(reply) => return Err(format!("{n} × {} is not {reply:?}", n + 1).into()),
            Err(error @ CallError::Lost(_)) if error.may_have_run() => {
                due.push_front(n);
                repeated += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    finish(&caller, answered, repeated)
}

fn question(n: u64) -> [u8; 16] {
    let mut question = [0; 16];
    question[..8].copy_from_slice(&n.to_le_bytes());
    question[8..].copy_from_slice(&(n + 1).to_le_bytes());
    question
}

fn finish(caller: &Caller, answered: u64, repeated: u64) -> Result<(), Box<dyn Error>> {
    debug_assert_eq!(caller.stats().lost, repeated, "what the library counts");
    say(&format!("{answered} {repeated}"))
}

/// Prints a line. A reader that has had enough, such as head(1), is no error.
fn say(line: &str) -> Result<(), Box<dyn Error>> {
    match writeln!(stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
