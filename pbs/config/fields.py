"""Every field of the configuration, described once: kind, default, meaning, examples.

The checks, the JSON Schema, the sample of `pbs init` and the reference page are all made from here. Nothing here
reads a file. A default of "" means that there is none: the field must be written, or is absent.
"""

from __future__ import annotations

from pbs.config import kinds, sizes
from pbs.config.base import Fields, field
from pbs.config.channels import ChannelFields, FeedFields

# Fields that must be given, in the source or in [defaults].
REQUIRED = ("host", "user", "host_key")
# A complete example, made of a hash: nobody holds a private half of it.
EXAMPLE_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMSwg73X9JrsxfFeDEtH8M8qjZFhAlFEHhdHOydRsWaK"


class RunLogFields(Fields):
    """How long logs of runs are kept."""

    days: kinds.Days = field(400, "Older logs go.", takes="1 to 36500", examples=(90,))
    count: kinds.LogCount = field(
        2000, "So many logs of each source are kept at most.", takes="20 to 1000000", examples=(500,)
    )
    size: sizes.LogSize = field(
        "5GB",
        "So much may the logs of all runs take together; the oldest go first.",
        takes="size",
        examples=("500MB",),
    )


class ServerFields(Fields):
    """The server as a whole."""

    listen: kinds.Listen = field(
        "127.0.0.1:8484",
        'Where the console, the API, feeds and metrics answer over TCP. "off" leaves only the unix socket '
        "var/run/controller.sock, which asks for no login and which only the owner of the home can reach.",
        takes='"HOST:PORT" or "off"', examples=("[::1]:8484", "off"),
    )  # fmt: skip
    base_url: kinds.BaseUrl = field(
        "http://127.0.0.1:8484",
        "What links in feeds start with: the address under which readers reach this server. Where it is not given "
        "and listen is, it follows listen.",
        takes="address", examples=("https://backup.example.org",),
    )  # fmt: skip
    workers: kinds.Workers = field(
        2,
        "The most worker processes at a time. One of them always waits for work; more are started when runs queue up. "
        "One tunnel can use a whole core, so more workers than cores rarely help.",
        takes="1 to 64",
    )
    max_runs: kinds.MaxRuns = field(
        4, "How many runs may be under way at a time on this server.", takes="1 to 1000"
    )
    max_runs_per_host: kinds.MaxRuns = field(
        2,
        "How many runs may be under way at a time on one machine that is backed up: sources with the same host count together.",
        takes="1 to 1000",
    )
    run_dir: kinds.Folder = field(
        "var/run",
        "Where sockets lie: a folder of the home, or an absolute one. Socket paths may have 107 bytes at most, so a home "
        "with a long path needs a short folder here.",
        takes="folder", examples=("/run/pbs",),
    )  # fmt: skip
    stop_grace: kinds.Grace = field(
        "60s", "How long runs that go on may take to come to their end when the service is stopped, before they are "
        "interrupted. No run begins meanwhile. Whatever stops the service (systemd: TimeoutStopSec) must allow a minute "
        "more. `pbs stop --grace` and `--now` win over it.",
        takes="duration", examples=("10m", "0s"),
    )  # fmt: skip
    open: kinds.Doors = field(
        [],
        "What anybody may read over TCP without login. Feeds name sources and show the output of their runs.",
        takes='list of "feeds", "metrics", "health"', examples=(["feeds"],),
    )  # fmt: skip
    reserve: sizes.Reserve = field(
        "1%", "How much of the disk of the repositories stays free. Below it no pull, no import and no restore into "
        "`srv/restored` begins, and those that go on are stopped, so that one source never takes the room of the others, of restores and of pruning; runs that sent little "
        "may come to their end. Runs that were stopped are tried again.",
        takes='share, size or "none"', examples=("20GB", "5%"),
    )  # fmt: skip
    copies: kinds.Copy = field(
        "daily", "Whether ledger, keys and configuration are copied, encrypted, to srv/backup/pbs/.server.restic: once a day, "
        "and soon after a change of keys or configuration. `pbs key recovery` prints what opens the copy.",
        takes='"daily" or "off"', examples=("off",),
    )  # fmt: skip
    run_logs: RunLogFields = field(
        {}, "How long the logs of runs (var/log/runs) are kept. The 20 newest of each source always stay, and no log goes "
        "whose run goes on. The ledger keeps what each run was and what it printed.",
        takes="table", examples=({"days": 90, "count": 500},),
    )  # fmt: skip
    feeds: FeedFields = field(
        {}, "How many runs feeds hold, and under which older addresses they are found.",
        takes="table", examples=({"items": 200},),
    )  # fmt: skip
    log_format: kinds.LogFormat = field(
        "text", 'How controller and workers write their logs: lines for people, or one JSON object a line ("json").',
        takes='"text" or "json"', examples=("json",),
    )  # fmt: skip


class LimitFields(Fields):
    """How fast a run may transfer."""

    upload: sizes.Rate | None = field(
        None, "What a source may send in a second (a pull).", takes="rate", examples=("20MB/s",)
    )
    download: sizes.Rate | None = field(
        None,
        "What may be sent to a source or clone in a second (a restore or push).",
        takes="rate",
        examples=("50MB/s",),
    )


class TripwireFields(Fields):
    """What of a run looks like somebody else's work."""

    changed: kinds.PercentOrOff = field(
        "50%", "So many of the files of the snapshot before have other content.",
        takes='"0%" to "100%", or "off"', examples=("30%", "off"),
    )  # fmt: skip
    vanished: kinds.PercentOrOff = field(
        "50%", "So many of the files of the snapshot before are gone, and what they held as well; moving a file does not count.",
        takes='"0%" to "100%", or "off"', examples=("20%", "off"),
    )  # fmt: skip
    new: kinds.PercentOrOff = field(
        "off", "So much of what the snapshot holds was never stored before. Every dump of a database is such.",
        takes='"0%" to "100%", or "off"', examples=("75%",),
    )  # fmt: skip
    encrypted: kinds.PercentOrOff = field(
        "95%", "What is new packs no better than to this share of its size, it took the place of a part of what was there, and "
        "what this source sends usually packs well: it was encrypted by somebody.",
        takes='"0%" to "100%", or "off"', examples=("90%", "off"),
    )  # fmt: skip
    least_files: kinds.LeastFiles = field(
        100, "With fewer files in the snapshot before, files are not counted.", takes="1 to 1000000000", examples=(1000,)
    )  # fmt: skip
    least_bytes: sizes.Quota = field(
        "10MB", "With less new data, bytes are not looked at.", takes="size", examples=("1GB",)
    )


class CloneFields(Fields):
    """A host that follows a source. Not acted on yet."""

    host: kinds.Host = field(
        "",
        "Where the clone answers.",
        takes="host name or address",
        examples=("dr1.example.org",),
        required=True,
    )
    port: kinds.Port = field(22, "The port of its SSH server.", takes="1 to 65535", examples=(2222,))
    user: kinds.User = field(
        "",
        "The account on the clone. Without it, the user of the source.",
        takes="account",
        examples=("backup",),
    )
    host_key: kinds.HostKey = field(
        "",
        "The public host key that the clone must show.",
        takes='"TYPE BASE64"',
        examples=(EXAMPLE_HOST_KEY,),
        required=True,
    )
    push: kinds.Push = field(
        "after-pull", "When the clone is brought up to date: after each good pull, or on a schedule of its own.",
        takes='"after-pull" or a schedule', examples=("every 12h",),
    )  # fmt: skip
    max_deletions: kinds.Percent = field(
        "20%", "A push that would delete more than this share of the clone's files stops and asks.",
        takes='"0%" to "100%"', examples=("50%",),
    )  # fmt: skip


class DefaultFields(Fields):
    """What holds for every source that does not say otherwise."""

    host: kinds.Host = field(
        "", "Where the source answers: a name, an IPv4 or an IPv6 address, without account and port.",
        takes="host name or address", examples=("web1.example.org", "2001:db8::7"), required=True,
    )  # fmt: skip
    port: kinds.Port = field(22, "The port of its SSH server.", takes="1 to 65535", examples=(2222,))
    user: kinds.User = field(
        "", "The account on the source that the agent runs as. It needs to read what is backed up, and nothing else.",
        takes="account", examples=("backup",), required=True,
    )  # fmt: skip
    host_key: kinds.HostKey = field(
        "", "The public host key that the source must show, pinned: with another key nothing is sent and the run is "
        "refused. Get it on the source with `cat /etc/ssh/ssh_host_ed25519_key.pub`.",
        takes='"TYPE BASE64"', examples=(EXAMPLE_HOST_KEY,), required=True,
    )  # fmt: skip
    ssh_key: kinds.KeyFile = field(
        "etc/keys/ssh_ed25519", "The private key of ours that logs in there: below etc/keys of the home, or absolute.",
        takes="file", examples=("etc/keys/web1_ed25519",),
    )  # fmt: skip
    agent: kinds.Agent = field(
        "v1",
        'How to speak to the agent. "plain", a wrapper that answers without JSON, is not supported yet.',
        takes='"v1"',
    )
    encryption: kinds.Encryption = field(
        "controller", "Who knows the repository's password. With \"controller\" it is made and kept here and handed over for "
        'the length of a run; with "none" the repository has no password.',
        takes='"controller" or "none"', examples=("none",),
    )  # fmt: skip
    endpoint: kinds.Endpoint = field(
        "always", 'Whether the append-only server of the source is kept up, or started for each run ("on-demand"), which saves '
        "memory where there are many sources.",
        takes='"always" or "on-demand"', examples=("on-demand",),
    )  # fmt: skip
    sandbox: kinds.Sandbox = field(
        "auto", "Whether the append-only server of the source is shut in, so that it reaches its repository and nothing else even if "
        'it turned against us. "auto" uses what the kernel and the user allow; `pbs doctor` says what that is.',
        takes='"auto" or "off"', examples=("off",),
    )  # fmt: skip
    quota: sizes.Quota = field(
        None, 'How large the repository may grow; beyond it runs are refused. "none" lifts a quota that [defaults] sets.',
        takes='size or "none"', examples=("200GB",),
    )  # fmt: skip
    read_budget: sizes.Budget = field(
        "8GB", "How much a run may read back from its own repository. A backup reads the index and the folders of the snapshot "
        "before it; a source in other hands would read everything that was ever backed up. Beyond it the run is refused.",
        takes='size or "none"', examples=("50GB",),
    )  # fmt: skip
    write_budget: sizes.Budget = field(
        None, "How much a run may send. A source in other hands could fill the disk with what nobody needs; beyond it the run is "
        "refused. The first run of a source sends everything. Whatever it is, a run stops where the quota or the reserve of the "
        "server begins.",
        takes='size or "none"', examples=("20GB",),
    )  # fmt: skip
    limits: LimitFields = field(
        {}, "How fast a run may transfer. KB = 1000 bytes, KiB = 1024.",
        takes="table of rates", examples=({"upload": "20MB/s"},),
    )  # fmt: skip
    tripwires: TripwireFields = field(
        {}, "What looks like an intruder's work, against the snapshot before and what this source usually sends. A run that trips one "
        "is admitted, says so, and holds the source: no snapshot of it is removed until a person has looked, `pbs source resume`.",
        takes="table", examples=({"changed": "30%", "vanished": "20%"},),
    )  # fmt: skip
    canaries: kinds.Canaries = field(
        [], "Files that nobody has a reason to touch, by their paths in the snapshot. A run in which one is missing or changed holds "
        "the source, as a tripwire does.",
        takes="list of paths", examples=(["/accounts/.canary.txt"],),
    )  # fmt: skip
    admission: kinds.Admission = field(
        "full", 'How far what arrives is inspected before it counts. "full" reads and checks every byte; "structure" reads '
        "the headers of packs and all folders, but no file's content: for a server too slow for more. Receipts say which it was.",
        takes='"full" or "structure"', examples=("structure",),
    )  # fmt: skip
    max_entries: kinds.MaxEntries = field(
        "auto", "How many files and folders a snapshot may hold. A source in other hands could send a few kilobytes that list for "
        'days; beyond it the snapshot is refused. "auto" is 200,000, and as many more as the folders that were ever sent explain, each found in many places.',
        takes='"auto" or number', examples=(50_000_000,),
    )  # fmt: skip
    reread_every: kinds.RereadEvery = field(
        100, "Every so many runs the source reads all its files again, not only those whose size or time changed; also "
        "after each incident. 0 = only then.",
        takes="0 to 100000", examples=(30,),
    )  # fmt: skip
    migrate: kinds.Migrate = field(
        "latest", "What becomes of an rdiff-backup tree from an older server (srv/backup/pbs/NAME): its newest state becomes the "
        'first snapshot, or it is left alone ("off"). "all", the whole history, is not supported yet.',
        takes='"latest" or "off"', examples=("off",),
    )  # fmt: skip
    schedule: kinds.Schedule = field(
        "0 * * * *", "When the source is pulled: five cron fields, a distance, when the source asks for it, or only by hand. Any source that is "
        'not "manual" may also ask by itself.',
        takes='cron, "every 6h", "on-notification" or "manual"', examples=("every 6h", "30 2 * * mon-fri", "manual"),
    )  # fmt: skip
    timezone: kinds.TimeZone = field(
        "UTC",
        "What the hours of schedule and window mean, and the days of keep.",
        takes="time zone",
        examples=("Europe/Paris",),
    )
    window: kinds.Window = field(
        None, "Hours in which runs may begin, over midnight too. What is due outside of them waits, once, until they begin; a run that "
        'goes on when they end is not stopped; `pbs pull` is free of them. "none" lifts a window that [defaults] sets.',
        takes='"HH:MM-HH:MM" or "none"', examples=("22:00-06:00",),
    )  # fmt: skip
    jitter: kinds.Jitter = field(
        "auto", "By how much a run may begin after the time that schedule names, so that many sources do not begin in the same second. "
        'Each source always keeps its own place. "auto" is a tenth of the distance to the next run, at most half an hour; "every 6h" has '
        "its place anywhere in the six hours.",
        takes='"auto", duration or "none"', examples=("5m",),
    )  # fmt: skip
    max_age: kinds.MaxAge = field(
        "auto", 'How old the newest backup may get before the promise `fresh` is broken. "auto": two and a half times the distance that '
        'schedule leaves between two runs, and never less than 25 hours; 8 days where the source asks by itself; no limit for "manual".',
        takes='"auto", duration or "off"', examples=("3d", "off"),
    )  # fmt: skip
    timeout: kinds.Duration = field(
        "12h", "A run that takes longer is ended and counts as failed.", takes="duration", examples=("90m",)
    )
    retries: kinds.Retries = field(
        2,
        "How often a run is tried again that failed for a reason that may pass, or whose process died: after half a minute, then "
        "after longer and longer.",
        takes="0 to 100",
        examples=(0,),
    )
    keep: kinds.Keep = field(
        {"last": 3, "daily": 14, "weekly": 8, "monthly": 12, "yearly": 3, "within": "2d"},
        "Which snapshots are kept: the newest of so many hours, days, weeks … that have one, and all within a span. "
        'Older spellings are taken too: "2W" (within 14 days), "3B" (the last 3), "2y5m7d3h" (m = months). '
        "An empty keep keeps everything. What counts is when a snapshot arrived here, never what it claims; a span reaches "
        "back from the newest good snapshot.",
        takes="table or text", examples=({"last": 5, "daily": 30}, "2W", {}),
    )  # fmt: skip
    keep_least: kinds.KeepLeast = field(
        3, "So many of the newest good snapshots are never removed, whatever keep says.",
        takes="1 to 1000", examples=(7,),
    )  # fmt: skip
    max_forget: kinds.Percent = field(
        "30%", "When more than this share of the snapshots would go at once (and more than five), nothing goes until a "
        "person has confirmed it: `pbs retain NAME --dry-run` shows the plan.",
        takes='"0%" to "100%"', examples=("10%",),
    )  # fmt: skip
    prune: kinds.Verify = field(
        "7d", "How often the data is removed that no snapshot needs any more: at most once in this time, and only when a snapshot "
        'went. "off": only `pbs retain NAME --prune` does it.',
        takes='duration or "off"', examples=("1d", "off"),
    )  # fmt: skip
    prune_unused: kinds.Percent = field(
        "10%", "How much data that nothing needs may stay where removing it would mean to write other data anew.",
        takes='"0%" to "100%"', examples=("0%",),
    )  # fmt: skip
    verify: kinds.Verify = field(
        "30d", "Within which time every byte of the repository is read again and compared with the hash in its name; a part of it "
        'every day. "off": only `pbs check` does it.',
        takes='duration or "off"', examples=("7d", "off"),
    )  # fmt: skip
    legacy: kinds.Legacy = field(
        "remove", "What becomes of an rdiff-backup tree of an older server once retention has removed a first snapshot: it goes "
        'as well, if its import was verified and newer good snapshots exist, or it stays ("keep").',
        takes='"remove" or "keep"', examples=("keep",),
    )  # fmt: skip


class SourceFields(DefaultFields):
    """One source."""

    clone: dict[kinds.Name, CloneFields] = field(
        {},
        "Hosts that follow this source, by name. Not acted on yet.",
        takes="tables",
    )


class FileFields(Fields):
    """pbs.toml as a whole."""

    server: ServerFields = field({}, "The server as a whole.", takes="table")
    defaults: DefaultFields = field(
        {}, "What holds for every source that does not say otherwise.", takes="table"
    )
    source: dict[kinds.Name, SourceFields] = field({}, "The sources, by name.", takes="tables")
    notify: dict[kinds.Name, ChannelFields] = field(
        {}, "Where messages about promises go, by name.", takes="tables"
    )
