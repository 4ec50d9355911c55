r"""Every key in Redis, and the constants that Python and the Lua scripts share.

A script declares the constants that it reads: ``--! const MOST_DEAD``. The fields of the hashes are described at the
head of the library part that owns them, in ``_redis/lua/lib``.

============================================  ==========  ==================================================  ==========
Key                                           Type        Contents                                            Expires
============================================  ==========  ==================================================  ==========
``streamstop.lane.<lane>``                    list        messages that wait with priority 0                  never
``streamstop.lane.<lane>\x06\x16<n>``         list        the same with priority 3, 6 or 9                    never
``streamstop.arrivals``                       set         lanes with messages that no worker has seen         never
``streamstop.wake``                           list        at most one token, for one idle worker              never
``streamstop.schedule``                       sorted set  lane -> when a worker looks at it, µs               never
``streamstop.work.<lane>:leases``             sorted set  id of a job in flight -> end of its lease, µs       never
``streamstop.work.<lane>:jobs``               hash        messages, owners and histories of jobs: lane_keys   never
``streamstop.work.<lane>:due``                sorted set  id of a deferred job -> when it waits again, µs     never
``streamstop.work.<lane>:pace``               hash        pace and in-flight limit of the lane: lane          1 day
``streamstop.work.leased``                    sorted set  lane -> when the sweep looks at its leases, µs      never
``streamstop.work.recent``                    sorted set  lane -> when it was at work, µs, to the hour        1 day
``streamstop.work.swept``                     string      moment of the last sweep, µs                        30 days
``streamstop.work.staged``                    hash        id of a staged batch -> when it was first seen, s   never
``streamstop.work.book.<digest>``             hash        accounts of a worker, and the paces of their lanes  1 day
``streamstop.controls``                       hash        pauses, limits and holds: _core.controls             never
``streamstop.events``                         stream      the latest events: _core.journal                    never
``streamstop.work.refused``                   hash        refusals of accounts' keys, next probes: holds      1 day
``streamstop.work.errors.<n>``                hash        vendors' errors in five minutes: journal            1 day
``streamstop.work.task.<task id>``            string      the latest jobs of a stream task: stream_tasks      1 day
``streamstop.work.answers.<job id>``          string      answers after which a job went on: answers          1 day
``streamstop.work.cancelled``                  hash        lane -> jobs cancelled before a worker took them     30 days
``streamstop.unique.<lane>.<digest>``         hash        the open job of a unique command: unique            1 day
``streamstop.request.<digest>``                hash        a call with an idempotency key: request             1 day
``streamstop.work.workers``                   hash        id of a worker process -> its last sign of life     1 day
``streamstop.accounts``                       sorted set  ``<account> <vendor>`` -> when last published, s    1 minute
``streamstop.batch.<id>``                     list        a batch of messages                                 never
``streamstop.batch.<id>``                     hash        a batch of a room's stream tasks: batch             5 minutes
``streamstop.batches``                        list        ids of accepted batches of messages                 never
``streamstop.staged``                         set         ids of message batches until they are in lanes      never
``streamstop.room.<name>:tasks``              hash        stream task -> the command that stops it            30 days
``streamstop.room.<name>:state``              hash        the room's shutdown and batch: shutdown             30 days
``streamstop.shutdown.<id>``                  hash        a shutdown's counters and options: shutdown         7 days
``streamstop.shutdown.<id>:<part>``           various     its members, jobs and outcomes: shutdown            7 days
``streamstop.shutdowns.open``                 hash        id of an open shutdown -> since when, µs            30 days
``streamstop.shutdowns.ended``                sorted set  id of a shutdown that ended -> when, µs             30 days
``streamstop.dead``                           sorted set  id of a dead letter -> when it was kept, µs         never
``streamstop.dead.<id>``                      hash        a dead letter: dead                                 never
``streamstop.dead:results``                   hash        result -> how many dead letters have it              never
``streamstop.dead:count``                     string      number of messages that were unreadable             never
``celery-task-meta-<job id>``                 string      a job's record in Celery's result backend           1 day
============================================  ==========  ==================================================  ==========

A room's batch and a shutdown expire 30 days after the last change while they are open. ``STREAMSTOP_ROOM_KEPT`` and
``STREAMSTOP_OUTCOMES_KEPT`` change how long rooms and records are kept. Redis deletes a key that becomes empty.
"""

#: Prefix of the lists in which jobs wait: all keys of a lane that producers write.
LANE = "streamstop.lane."
#: Prefix of the keys that only workers write. Redis' access rules separate the two by it.
WORK = "streamstop.work."
#: Separates a queue's name from a priority other than 0, by kombu's rule.
PRIORITY_SEPARATOR = "\x06\x16"
#: Between the texts of a string to which workers add, the newest first: see lib/notes.lua.
NOTES_SEPARATOR = "\x01"

#: Sorted set: lane -> the earliest moment (µs, by Redis' clock) at which it could give a job.
SCHEDULE = "streamstop.schedule"
#: Set of lanes into which a producer has put jobs since a worker last looked.
ARRIVALS = "streamstop.arrivals"
#: List of at most one token. An idle worker waits for it, and then looks at the arrivals and the schedule.
WAKE = "streamstop.wake"
#: Sorted set: lane with jobs in flight -> a moment (µs) no later than the end of its first lease.
LEASED = "streamstop.work.leased"
#: Sorted set: lane -> a moment (µs) no more than an hour before its last call, for lanes that made one within a day.
RECENT = "streamstop.work.recent"
#: String: the moment (µs) of the last sweep.
SWEPT = "streamstop.work.swept"
#: Prefix of the books. A book is a hash of the accounts that a worker has, and of the paces of their lanes.
BOOK = "streamstop.work.book."
#: Sorted set: account and vendor of a running worker -> the moment (s) at which it last published them.
ACCOUNTS = "streamstop.accounts"
#: A key that never exists. To delete it is a change that needs no memory.
ABSENT = "streamstop.work.none"
#: List: the one queue that workers of earlier versions consumed. Workers still empty it, so an upgrade loses no job.
READY = "streamstop.ready"
#: Set: the lanes that hold anything, as producers of those versions keep it.
LANES = "streamstop.lanes"

#: Hash: pauses, limits and holds; see :mod:`streamstop._core.controls`.
CONTROLS = "streamstop.controls"
#: Stream: what happened to lanes, accounts and workers; see :mod:`streamstop._core.journal`.
EVENTS = "streamstop.events"
#: Hash: accounts whose keys a vendor refuses; see ``lib/holds.lua``.
REFUSED = "streamstop.work.refused"
#: Prefix of the counts of vendors' errors, one hash for every five minutes.
ERROR_COUNTS = "streamstop.work.errors."
#: Prefix of a stream task's latest jobs.
TASK_JOBS = "streamstop.work.task."
#: Prefix of the answers of a job's calls after which the job went on.
ANSWERS = "streamstop.work.answers."
#: Hash: lane -> how many of its jobs were cancelled before a worker took them.
CANCELLED = "streamstop.work.cancelled"
#: Prefix of the open job of a unique command.
UNIQUE = "streamstop.unique."
#: Prefix of the calls with idempotency keys.
REQUEST = "streamstop.request."
#: Hash: id of a worker's process -> its last sign of life, as JSON; see the script ``worker/beat``.
WORKERS = "streamstop.work.workers"

#: Prefix of a batch's entries: a list of messages, or a hash of a room's stream tasks.
BATCH = "streamstop.batch."
#: List: ids of accepted batches whose messages are not all in their lanes yet, the latest first.
BATCHES = "streamstop.batches"
#: Set: ids of the message batches that are staged, or accepted and not yet spread.
STAGED = "streamstop.staged"
#: Hash: id of a staged batch -> the moment (s) at which a worker first saw it.
STAGED_SEEN = "streamstop.work.staged"

#: Prefix of a room's keys: ``<name>:tasks`` and ``<name>:state``.
ROOM = "streamstop.room."
#: Prefix of a shutdown's keys: ``<id>``, and ``<id>:tasks``, ``:jobs``, ``:todo``, ``:again``, ``:lanes``,
#: ``:outcomes``. ``streamstop.shutdown.<id>`` is also the channel on which every change is published.
SHUTDOWN = "streamstop.shutdown."
#: Sorted sets: open shutdowns, and the latest ended ones, for people.
SHUTDOWNS_OPEN = "streamstop.shutdowns.open"
SHUTDOWNS_ENDED = "streamstop.shutdowns.ended"
#: Lane of the jobs that fan out or cancel a shutdown. No account can have this name.
CONTROL_LANE = "_control.room.Steps"
#: Lane of the jobs that call a service back. A service that does not answer delays no shutdown.
CALLBACKS_LANE = "_control.room.Callbacks"

#: Sorted set: id of a dead letter -> the moment (µs) at which it was kept. Each dead letter is the hash
#: ``streamstop.dead.<id>``; ``streamstop.dead:count`` counts the unreadable messages.
DEAD = "streamstop.dead"
#: Number of dead letters that are kept. Beyond it, the oldest are deleted, so that they cannot fill Redis.
MOST_DEAD = 100_000

#: Name of the one Celery task: every message names it.
TASK = "streamstop.execute"
#: Prefix of the key of a job's record in Celery's result backend, and of the channel on which it is published.
RESULT = "celery-task-meta-"
#: The first characters of the record of a job that waits to be called again. No other record begins so.
RETRY_RECORD = '{"status": "RETRY"'

#: Number of lanes that one run of ``find`` adds to the schedule. The next run finds others.
MOST_FOUND = 12
