//! What `--json` prints is one JSON object a line, whatever names and payloads are: a parser reads each line.

mod kit;

use fdring::options::LaneOptions;
use fdring::{Consumer, Server};
use kit::{Folder, Running, fdring, out, unique, wait_until};
use serde_json::Value;

#[track_caller]
fn objects(text: &str) -> Vec<Value> {
    let objects: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    let objects = objects.unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(!objects.is_empty() && objects.iter().all(Value::is_object), "{text}");
    objects
}

#[test]
fn every_line_of_every_command_is_an_object() {
    let folder = Folder::new("json");
    // As hard on a printer as the protocol lets a name be.
    let name = format!("{} \"\\\u{202e}\u{e0041}ö", unique("j"));
    let address = format!("@{}", unique("j"));
    let mut lane = LaneOptions::new(&name).stamped(true).create().unwrap();
    let server = Server::listen(address.as_str(), [&lane]).unwrap();
    let _consumer = Consumer::connect(address.as_str()).unwrap();
    lane.send_tagged(b"\"\\\x1b\xff\n\xe2\x80\xa8", 7).unwrap();
    let file = folder.text("j \"quoted\".mcap");
    let newest = ["--start", "newest", "--count", "1", "--json"];
    let commands: [&[&str]; 9] = [
        &["ps", "--json", "--interval", "1ms"],
        &[&["tail", &name], &newest[..]].concat(),
        &[&["tail", &name, "--as", "text"], &newest[..]].concat(),
        &[&["tail", &name, "--as", "u8 a, char b, f32 c"], &newest[..]].concat(),
        &["inspect", &name, "--json"],
        &["doctor", "--json", "--without-trial"],
        &["subscribe", &address, "--start", "oldest", "--count", "1", "--json"],
        &["record", &address, "--lossless", "--start", "oldest", "--count", "1", "--json", "-o", &file],
        &["info", &file, "--json"],
    ];
    let pid = u64::from(std::process::id());
    for command in commands {
        let output = fdring(command);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{command:?}: {output:?}");
        let objects = objects(&out(&output));
        assert!(!out(&output).chars().any(|c| c.is_control() && c != '\n'), "{command:?}");
        let named = objects.iter().find(|object| object["lane"] == *name || object["name"] == *name);
        match command[0] {
            "ps" => assert_eq!(named.unwrap()["consumers"][0]["process"]["pid"], pid, "{objects:?}"),
            "record" | "info" => assert!(named.is_some(), "{command:?}: {objects:?}"),
            "subscribe" => assert_eq!(objects[0]["payload"], "225c1bff0ae280a8"),
            "tail" => assert_eq!((&objects[0]["tag"], &objects[0]["len"]), (&7.into(), &8.into())),
            _ => {}
        }
    }
    for meter in ["hz", "delay"] {
        let mut running = Running::start(&[meter, &name, "--interval", "50ms", "--count", "2", "--json"]);
        wait_until("it has measured", || {
            lane.send(b"more").unwrap();
            !running.is_running()
        });
        assert_eq!(objects(&out(&running.end())).len(), 2);
    }
    drop(server);
    let replayer = fdring(&["replay", &file, "--at", &address, "--fast", "--json"]);
    assert_eq!(objects(&out(&replayer))[0]["lane"], *name);
    let publisher = Running::start_with(&["publish", &address, "--lane", &name, "--consumers", "0", "--json"], b"1\n2");
    assert_eq!(objects(&out(&publisher.end()))[0]["records"], 2);
    let sender = Running::start(&["send-fds", "--json", "--socket", &address, "--read-only", &file]);
    let mut received = String::new();
    wait_until("the file comes", || {
        received = out(&fdring(&["recv-fds", "--json", "--socket", &address]));
        !received.is_empty()
    });
    assert_eq!(objects(&received)[0]["file"], *file);
    assert_eq!(objects(&out(&sender.end())).len(), 2);
}
