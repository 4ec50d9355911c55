-- Record a claimed job's outcome, drop its lease, and admit the lane's next job.
--
-- KEYS[12]  result   the job's record in Celery's result backend
-- ARGV[4]   id
-- ARGV[5]   owner    as it claimed
-- ARGV[6]   record   the outcome, as Celery keeps results
-- ARGV[7]   ttl      of the record, s
-- ARGV[8]   call     'well': the vendor answered;  'fault': the last call met a transient fault;  'none' was made
-- ARGV[9…14]  settlement  of the shutdown that the job is of: see settle_from
-- ARGV[15] list     where the job that follows this one waits; '': none does
-- ARGV[16] lane     its lane
-- ARGV[17] message  of it
-- ARGV[18] late     µs after its slot at which the last call left its worker
-- ARGV[19] moved    as the claim told it
-- ARGV[20] dead     id of the dead letter that this end leaves; '': none
-- ARGV[21] letter   as JSON
-- ARGV[22] quote    1: the letter quotes the message, which could not be read
-- Returns   1, or 0 where the job is no longer the owner's
local id, owner = ARGV[4], ARGV[5]

if redis.call('HGET', jobs, id .. ':owner') ~= owner then
    return 0
end
record(KEYS[12], ARGV[6], ARGV[7])
if ARGV[20] ~= '' then
    local room = ARGV[9] ~= '' and redis.call('HGET', shutdown_key(ARGV[9]), 'room')
    bury(ARGV[20], ARGV[21], ARGV[22] == '1' and redis.call('HGET', jobs, id) or '', room or '')
end
forget(id)
settle_from(9, lane, math.floor(now / SECOND))
if ARGV[15] ~= '' then
    redis.call('LPUSH', ARGV[15], ARGV[17])
    redis.call('SADD', lanes, ARGV[16])
end
if ARGV[8] == 'well' then
    set('faults', 0)
    if pace.rest <= now then    -- what was in flight when the rest began does not speed the lane up again
        set('throttles', 0)
        set('share', math.min(100, pace.share + 5))
    end
elseif ARGV[8] == 'fault' then
    count_fault()
else
    refund()
end
make_up(tonumber(ARGV[18]), tonumber(ARGV[19]))
admit()
save()
return 1
