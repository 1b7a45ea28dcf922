//! What mcp-proto must not do: each line that is marked is refused, and no other.

use std::collections::{BTreeMap, HashMap, HashSet}; //~
use std::sync::{Arc, Mutex, RwLock}; //~
use std::time::Duration;
use std::time::Instant as Moment; //~

pub fn clock() -> Moment { //~
    Moment::now() //~
}

pub fn date() -> Duration {
    std::time::SystemTime::now() //~
        .duration_since(std::time::SystemTime::UNIX_EPOCH) //~
        .unwrap_or_default()
}

pub fn wait(time: Duration) {
    std::thread::sleep(time); //~
    std::thread::spawn(|| ()); //~
}

pub fn share(value: u8) -> Arc<Mutex<u8>> { //~
    Arc::new(Mutex::new(value)) //~
}

pub fn lock(value: u8) -> RwLock<u8> { //~
    RwLock::new(value) //~
}

pub fn order(map: &HashMap<u8, u8>, set: &HashSet<u8>) -> usize { //~
    map.len() + set.len()
}

pub fn settings() -> bool {
    std::env::var("HOME").is_ok() //~
        && std::env::vars().next().is_some() //~
}

pub fn chance() -> std::hash::RandomState { //~
    std::hash::RandomState::new() //~
}

pub fn allowed(map: &BTreeMap<u8, u8>) -> u8 {
    map.values().sum()
}
