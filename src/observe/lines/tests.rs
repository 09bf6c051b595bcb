use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;

use super::target::Target;
use super::writer::Writer;
use super::*;

/// A writer that runs when a test lets it, and the way to it.
fn writer(target: Target, lines_max: usize) -> (Lines, Writer) {
    let (queue, lines) = sync_channel(lines_max);
    let (orders, told) = sync_channel(ORDERS_MAX);
    let account = Arc::new(Account::new(lines_max * LINE_BYTES));
    let writer = Writer::new("test", target, lines, told, Arc::clone(&account));
    let lines = Lines {
        queue,
        orders,
        account,
    };
    (lines, writer)
}

fn file(path: &std::path::Path) -> Target {
    Target::file(path.to_owned()).unwrap()
}

#[test]
fn lines_come_out_in_their_order_and_the_end_waits_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (lines, guard) = Lines::start("test", file(&path), 1000).unwrap();
    let mut expected = String::new();
    for number in 0..500 {
        let line = format!("{number}\n");
        expected.push_str(&line);
        lines.put(line.into_bytes());
    }
    drop(guard);
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    assert_eq!(lines.dropped(), 0);
}

#[test]
fn lines_and_bytes_that_wait_are_bounded() {
    let (lines, _writer) = writer(Target::Nowhere, 4);
    for _ in 0..10 {
        lines.put(b"x\n".to_vec());
    }
    assert_eq!(lines.dropped(), 6, "four places");
    let (lines, _writer) = writer(Target::Nowhere, 4);
    lines.put(vec![b'\n'; 4 * LINE_BYTES - 1]);
    lines.put(b"xx\n".to_vec());
    lines.put(b"\n".to_vec());
    assert_eq!(lines.dropped(), 1, "one byte was left");
}

#[test]
fn what_a_full_disk_refuses_is_counted() {
    let (lines, writer) = writer(file("/dev/full".as_ref()), 100);
    for _ in 0..7 {
        lines.put(b"x\n".to_vec());
    }
    lines.tell(Order::End);
    writer.run();
    assert_eq!(lines.dropped(), 7);
}

#[test]
fn a_rotated_file_is_opened_anew_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("a"), dir.path().join("b"));
    let (lines, guard) = Lines::start("test", file(&path), 100).unwrap();
    lines.put(b"1\n".to_vec());
    while fs::read(&path).unwrap().is_empty() {
        thread::yield_now();
    }
    fs::rename(&path, &moved).unwrap();
    lines.reopen();
    while !path.exists() {
        thread::yield_now();
    }
    lines.put(b"2\n".to_vec());
    lines.move_to(file(&moved));
    lines.put(b"3\n".to_vec());
    drop(guard);
    let all = [&path, &moved].map(|path| fs::read_to_string(path).unwrap());
    assert_eq!(all.concat().lines().count(), 3, "{all:?}");
    assert!(all[1].starts_with("1\n") && all[1].ends_with("3\n"));
}

/// A pipe whose writing end is as a FIFO's is.
fn pipe() -> (File, Target) {
    let (reader, writer) = std::io::pipe().unwrap();
    let writer = socket2::Socket::from(OwnedFd::from(writer));
    writer.set_nonblocking(true).unwrap();
    let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
    (reader.into(), Target::Stream(writer.into()))
}

#[test]
fn a_stuck_pipe_can_be_left_and_no_line_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (mut reader, target) = pipe();
    let (lines, guard) = Lines::start("test", target, 1000).unwrap();
    let line = [vec![b'x'; 999], vec![b'\n']].concat();
    for _ in 0..200 {
        lines.put(line.clone());
    }
    lines.move_to(file(&path));
    drop(guard);
    let mut left = Vec::new();
    reader.read_to_end(&mut left).unwrap();
    let arrived = left.iter().filter(|byte| **byte == b'\n').count();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.lines().all(|line| line.len() == 999));
    assert_eq!(arrived + text.lines().count(), 200);
    assert_eq!(lines.dropped(), 0);
}

#[test]
fn the_end_does_not_wait_for_a_pipe_that_nobody_reads() {
    let (reader, target) = pipe();
    let (lines, guard) = Lines::start("test", target, 1000).unwrap();
    for _ in 0..200 {
        lines.put(vec![b'\n'; 1000]);
    }
    drop(guard);
    assert!(lines.dropped() > 0);
    drop(reader);
}
