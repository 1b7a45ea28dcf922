//! What gateway-kit must not do where no reason is given: each line that is marked is refused, and no
//! other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

pub fn clock(since: Instant) -> Duration {
    let _ = Instant::now(); //~
    since.elapsed() //~
}

pub fn date() -> SystemTime {
    SystemTime::now() //~
}

pub fn order(map: &mut HashMap<u8, u8>, set: &mut HashSet<u8>) -> Vec<u8> {
    let mut all = Vec::new();
    for (key, _) in map.iter() { //~
        all.push(*key);
    }
    for key in &*set { //~
        all.push(*key);
    }
    all.extend(map.values()); //~
    all.extend(map.keys()); //~
    all.extend(set.iter()); //~
    map.retain(|_, _| true); //~
    all.extend(map.drain().map(|(key, _)| key)); //~
    all
}

pub fn allowed(map: &BTreeMap<u8, u8>, waiting: &mut HashMap<u8, u8>) -> Option<u8> {
    waiting.insert(1, map.values().sum());
    waiting.remove(&1)
}
