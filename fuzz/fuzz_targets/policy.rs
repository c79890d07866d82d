//! `policy.yaml`. The server reads it with these options; its configuration too, but that lives in
//! the binary and is reached by a property test there.
#![no_main]

use untoil_guard::Policy;

/// As `engine/server/src/config.rs` has it.
const NODES_MAX: usize = 5_000;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let options = serde_yaml::options! {
        strict_booleans: true,
        merge_keys: serde_yaml::MergeKeyPolicy::Error,
        budget: serde_yaml::budget! { max_nodes: NODES_MAX, max_aliases: 0, max_anchors: 0 },
    };
    if let Ok(policy) = serde_yaml::from_str_with_options::<Policy>(text, options) {
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
    }
});
