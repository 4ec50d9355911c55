"""Constants that Python and the Lua scripts share. A script declares those that it reads: ``--! const MOST_DEAD``."""

#: Begins the names of the lists in which jobs wait: all of a lane that producers write.
LANE = "streamstop.lane."
#: Begins the names of what only workers write: Redis' access rules tell the two apart by it.
WORK = "streamstop.work."
#: Stands between a queue's name and a priority other than 0, by kombu's rule.
PRIORITY_SEPARATOR = "\x06\x16"

#: Sorted set: a lane -> the earliest moment (µs, by Redis' clock) at which it could give a job.
SCHEDULE = "streamstop.schedule"
#: Set of lanes into which a producer has put jobs since a worker last looked.
ARRIVALS = "streamstop.arrivals"
#: List of at most one token: an idle worker waits for it, and looks at the arrivals and the schedule.
WAKE = "streamstop.wake"
#: Sorted set: a lane with jobs in flight -> a moment (µs) no later than the end of its first lease.
LEASED = "streamstop.work.leased"
#: The moment (µs) of the last sweep.
SWEPT = "streamstop.work.swept"
#: Begins the names of the books: hashes of the accounts that a worker has, and of the paces of their lanes.
BOOK = "streamstop.work.book."
#: The sorted set of the accounts that running workers have, by the moment they were last seen.
ACCOUNTS = "streamstop.accounts"
#: The one queue that workers consumed before; still read once, so that what it holds is not lost in an upgrade.
READY = "streamstop.ready"
#: The set of lanes that hold anything, as versions before kept it.
LANES = "streamstop.lanes"

#: Begins the names of what holds a batch's entries: a list of messages, or a hash of a room's tasks.
BATCH = "streamstop.batch."
#: List of the ids of accepted batches whose messages are not all in their lanes yet.
BATCHES = "streamstop.batches"
#: Set of the ids of the message batches that are staged, or accepted and not yet in their lanes whole.
STAGED = "streamstop.staged"
#: Hash: the id of a staged batch -> the moment (s) at which a worker first saw it.
STAGED_SEEN = "streamstop.work.staged"

#: The lane of the jobs that fan out and take back. No account can have this name.
CONTROL_LANE = "_control.room.Steps"
#: The lane of those that tell a service: one that does not answer holds up no shutdown.
CALLBACKS_LANE = "_control.room.Callbacks"

#: The sorted set of the dead letters' ids; each letter is the hash ``streamstop.dead.<id>``.
DEAD = "streamstop.dead"
#: How many dead letters are kept; the oldest go before Redis is full of them.
MOST_DEAD = 100_000

#: The one Celery task: what a message must name.
TASK = "streamstop.execute"
#: Begins the key of a job's record in Celery's result backend; also the channel where it is published.
RESULT = "celery-task-meta-"
#: Begins the record of a job that waits to be called again, and no record of one that has ended.
RETRY_RECORD = '{"status": "RETRY"'

#: How many lanes one run of ``find`` finds at most; they are in the schedule then, and the next run finds others.
MOST_FOUND = 12
