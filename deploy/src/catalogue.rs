//! The documents that untoil ships.

use crate::{Accepts, Document, Ending, Filler, Parameter};

const DISK_MOUNT: &str = include_str!("../ssm/scripts/disk-mount.sh");
const CPU_SAMPLE: &str = include_str!("../ssm/scripts/cpu-sample.sh");

/// Unix time of 2001-09-09: the first with ten digits.
const FIRST_DEADLINE: u64 = 1_000_000_000;
/// The last with ten digits.
const LAST_DEADLINE: u64 = 9_999_999_999;

const RUN_ID: Parameter = Parameter {
    name: "RunId",
    about: "Names one step of one run, the same on every attempt: the host acts at most once for it.",
    accepts: Accepts::Id,
    default: None,
    filler: Filler::Engine,
};
const NOT_AFTER: Parameter = Parameter {
    name: "NotAfter",
    about: "Unix time in seconds after which the host does not begin, at most a day ahead.",
    accepts: Accepts::Number { least: FIRST_DEADLINE, most: LAST_DEADLINE },
    default: None,
    filler: Filler::Engine,
};
const MODE: Parameter = Parameter {
    name: "Mode",
    about: "With dry the host only says what it would do.",
    accepts: Accepts::OneOf(&["dry", "act"]),
    default: None,
    filler: Filler::Engine,
};
const MOUNT: Parameter = Parameter {
    name: "Mount",
    about: "The mount point of the disk.",
    accepts: Accepts::Mount,
    default: Some("/"),
    filler: Filler::Rule,
};

/// How long a document may run on the host, in seconds; the agent ignores less than 5.
const fn timeout(default: &'static str) -> Parameter {
    Parameter {
        name: "executionTimeout",
        about: "Seconds after which the agent ends the script.",
        accepts: Accepts::Number { least: 30, most: 3600 },
        default: Some(default),
        filler: Filler::Engine,
    }
}

const fn rule(
    name: &'static str,
    about: &'static str,
    accepts: Accepts,
    default: Option<&'static str>,
) -> Parameter {
    Parameter { name, about, accepts, default, filler: Filler::Rule }
}

const fn ending(code: &'static str, status: u8, means: &'static str) -> Ending {
    Ending { code, status, ok: status == 0, means }
}

const BAD_RUN_ID: Ending =
    ending("bad_run_id", 64, "RunId is not 8 to 48 letters, digits, `_` and `-`.");
const BAD_MODE: Ending = ending("bad_mode", 64, "Mode is neither dry nor act.");
const BAD_DEADLINE: Ending =
    ending("bad_deadline", 64, "NotAfter is no time, or more than a day ahead.");
const BAD_MOUNT: Ending = ending("bad_mount", 64, "Mount is not a plain absolute path.");
const OUT_OF_BOUNDS: Ending =
    ending("out_of_bounds", 64, "A number or word is outside its bounds.");
const NOT_A_MOUNT: Ending = ending("not_a_mount", 66, "Nothing is mounted at Mount.");
const NOT_A_LOCAL_DISK: Ending =
    ending("not_a_local_disk", 68, "The mount is a network file system, or has no size.");
const MISSING_TOOL: Ending =
    ending("missing_tool", 69, "The host lacks the command named in `tool`.");
const ALREADY_STARTED: Ending = ending(
    "already_started",
    70,
    "This RunId began to act before and never answered: look at the host before trying again.",
);
const ALREADY_DONE: Ending = Ending {
    code: "already_done",
    status: 0,
    ok: true,
    means: "This RunId was answered before: the answer is in `first`; `ok` repeats it, and the exit status is 71 if it was false.",
};
const BUSY: Ending = ending(
    "busy",
    73,
    "Another document of the same kind runs on the host; nothing was remembered, so it may be sent again.",
);
const NO_STATE: Ending =
    ending("no_state", 74, "The state folder /run/untoil cannot be written, or is not root's own.");
const EXPIRED: Ending = ending("expired", 75, "It arrived after NotAfter.");
const FAILED: Ending = ending(
    "failed",
    12,
    "A command failed where none should; `acted` tells whether anything was changed.",
);
const INTERRUPTED: Ending = ending(
    "interrupted",
    13,
    "The script was ended by a signal; `acted` tells whether anything was changed.",
);

const DOCUMENTS: &[Document] = &[
    Document {
        name: "untoil-cpu-culprit",
        version: "1",
        about: "Reads who burns the CPU, by process and by systemd unit. Changes nothing.",
        writes: false,
        content: include_str!("../ssm/untoil-cpu-culprit.json"),
        parameters: &[
            RUN_ID,
            NOT_AFTER,
            MODE,
            timeout("120"),
            rule(
                "Seconds",
                "How long to look.",
                Accepts::Number { least: 3, most: 60 },
                Some("10"),
            ),
        ],
        endings: &[
            ending("sampled", 0, "It looked; see `units` and `top`."),
            BAD_RUN_ID,
            BAD_MODE,
            BAD_DEADLINE,
            OUT_OF_BOUNDS,
            MISSING_TOOL,
            BUSY,
            NO_STATE,
            EXPIRED,
            FAILED,
            INTERRUPTED,
        ],
        scripts: &[CPU_SAMPLE, include_str!("../ssm/scripts/cpu-culprit.sh")],
    },
    Document {
        name: "untoil-disk-diag",
        version: "1",
        about: "Reads what fills a disk and whether cleaning could help. Changes nothing.",
        writes: false,
        content: include_str!("../ssm/untoil-disk-diag.json"),
        parameters: &[RUN_ID, NOT_AFTER, MODE, timeout("240"), MOUNT],
        endings: &[
            ending("diag", 0, "It looked."),
            BAD_RUN_ID,
            BAD_MODE,
            BAD_DEADLINE,
            BAD_MOUNT,
            NOT_A_MOUNT,
            NOT_A_LOCAL_DISK,
            MISSING_TOOL,
            BUSY,
            NO_STATE,
            EXPIRED,
            FAILED,
            INTERRUPTED,
        ],
        scripts: &[DISK_MOUNT, include_str!("../ssm/scripts/disk-diag.sh")],
    },
    Document {
        name: "untoil-disk-reclaim",
        version: "1",
        about: "Compresses and rotates logs on one mount, and removes caches and rotated logs older than KeepDays, until the disk is at its target.",
        writes: true,
        content: include_str!("../ssm/untoil-disk-reclaim.json"),
        parameters: &[
            RUN_ID,
            NOT_AFTER,
            MODE,
            timeout("600"),
            MOUNT,
            rule(
                "TargetUsedPct",
                "Stop once the disk is no fuller than this, in percent.",
                Accepts::Number { least: 50, most: 95 },
                Some("80"),
            ),
            rule(
                "KeepDays",
                "Rotated logs and journals younger than this are not removed.",
                Accepts::Number { least: 1, most: 365 },
                Some("7"),
            ),
            rule(
                "RotateMb",
                "Logs that logrotate knows and that are larger than this, in MiB, are rotated early.",
                Accepts::Number { least: 1, most: 9999 },
                Some("100"),
            ),
            rule(
                "Docker",
                "With cache also the build cache of Docker older than a week goes; never images, containers or volumes.",
                Accepts::OneOf(&["off", "cache"]),
                Some("off"),
            ),
        ],
        endings: &[
            ending("nothing_to_do", 0, "The disk is at its target already."),
            ending("would_reclaim", 0, "Mode is dry: what would have been done is in `steps`."),
            ending("reached", 0, "The disk is at its target now."),
            ending(
                "not_enough",
                11,
                "All that may be done was done and the disk is still above its target; `biggest` names files.",
            ),
            BAD_RUN_ID,
            BAD_MODE,
            BAD_DEADLINE,
            BAD_MOUNT,
            OUT_OF_BOUNDS,
            NOT_A_MOUNT,
            ending("mount_read_only", 67, "The mount is read-only."),
            NOT_A_LOCAL_DISK,
            MISSING_TOOL,
            ALREADY_STARTED,
            ALREADY_DONE,
            BUSY,
            NO_STATE,
            EXPIRED,
            FAILED,
            INTERRUPTED,
        ],
        scripts: &[DISK_MOUNT, include_str!("../ssm/scripts/disk-reclaim.sh")],
    },
    Document {
        name: "untoil-restart-unit",
        version: "1",
        about: "Restarts one of the allowed agents if it runs and burns CPU right now.",
        writes: true,
        content: include_str!("../ssm/untoil-restart-unit.json"),
        parameters: &[
            RUN_ID,
            NOT_AFTER,
            MODE,
            timeout("180"),
            rule(
                "Unit",
                "The systemd unit of the agent.",
                Accepts::OneOf(&[
                    "ds_agent.service",
                    "newrelic-infra.service",
                    "amazon-ssm-agent.service",
                    "snap.amazon-ssm-agent.amazon-ssm-agent.service",
                ]),
                None,
            ),
            rule(
                "MinCorePct",
                "Refuse unless the unit burns at least this much of one core now, in percent.",
                Accepts::Number { least: 10, most: 9999 },
                Some("60"),
            ),
        ],
        endings: &[
            ending("would_restart", 0, "Mode is dry and the unit is guilty."),
            ending("restarted", 0, "It was restarted and is active."),
            ending(
                "restart_scheduled",
                0,
                "systemd restarts the SSM agent in 20 s, after this answer has left.",
            ),
            ending(
                "restart_failed",
                10,
                "systemd was asked, and the unit is not active or was not restarted.",
            ),
            BAD_RUN_ID,
            BAD_MODE,
            BAD_DEADLINE,
            OUT_OF_BOUNDS,
            ending("unit_not_allowed", 64, "Unit is not one of the allowed agents."),
            ending("not_the_culprit_now", 65, "The unit burns less than MinCorePct now."),
            ending("unit_absent", 66, "systemd has no such unit, or it is masked."),
            ending(
                "unit_not_active",
                67,
                "The unit does not run; a restart would start what somebody stopped.",
            ),
            ending(
                "courier_busy",
                72,
                "The SSM agent runs another command, which a restart would lose.",
            ),
            MISSING_TOOL,
            ALREADY_STARTED,
            ALREADY_DONE,
            BUSY,
            NO_STATE,
            EXPIRED,
            FAILED,
            INTERRUPTED,
        ],
        scripts: &[CPU_SAMPLE, include_str!("../ssm/scripts/restart-unit.sh")],
    },
];

/// All documents, by name.
#[must_use]
pub fn documents() -> &'static [Document] {
    DOCUMENTS
}

/// The document of that name.
#[must_use]
pub fn document(name: &str) -> Option<&'static Document> {
    DOCUMENTS.iter().find(|document| document.name == name)
}
