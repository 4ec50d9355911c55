--! include lib/clock lib/change_controls lib/errors lib/jobs lib/lane lib/probes lib/writing
--! const CONTROLS REFUSED
-- Accounts whose keys the vendor refuses. The hash streamstop.work.refused has, from the first refusal to a good answer:
--
-- <account>        "<refusals in a row> <slot of the latest, µs> <end of the grace, µs>"
-- <account>:probe  the moment from which the account, while it is held, may make its next call

local MOST_REFUSED = 5              -- refusals in a row that end their jobs; then the account is held
local GRACE = 60 * SECOND           -- after a hold: another worker may still have the old key, so its jobs wait again
local GRACE_DELAY = 5 * SECOND

local refused                       -- the hash, as this run has read and changed it
local held, released = {}, {}       -- {account, command that requeues}, …, and accounts, whose hold this run began or ended

local function account_of(lane)
    return string.match(lane.name, '^[^.]*')
end

-- Return an account's refusals in a row, the slot of the latest, and the end of the grace; nil: there are none.
local function refusals_of(account)
    if not refused then
        refused = {}
        local flat = redis.pcall('HGETALL', REFUSED)    -- a key of another type has no numbers, and delays no report
        for at = 1, #flat, 2 do refused[flat[at]] = flat[at + 1] end
    end
    local count, slot, grace = string.match(refused[account] or '', '^(%d+) (%d+) (%d+)$')
    slot = tonumber(slot)
    if slot and slot > now + SECOND then slot = 0 end   -- the clock was set back since
    return tonumber(count), slot, tonumber(grace)
end

local function write_refusals(account, count, slot, grace)
    refused[account] = string.format('%.0f %.0f %.0f', count, slot, grace)
    begin_writing()
    redis.call('HSET', REFUSED, account, refused[account])
    redis.call('EXPIRE', REFUSED, REFUSED_TTL)
end

local function is_held(account)
    return redis.pcall('HEXISTS', CONTROLS, 'hold ' .. account) == 1
end

-- Let the account of a lane wait for a key that the vendor accepts. `answer` is the vendor's last refusal.
local function hold(lane, account, answer)
    local code = answer.code or ''
    local requeue = 'streamstop dead requeue --account ' .. account
        .. (string.find(code, '^[%w._-]+$') and ' --code ' .. code or ' --result refused')
    begin_writing()
    change_controls('HSET', 'hold ' .. account, cjson.encode({
        account = account, at = now / SECOND, operation = string.match(lane.name, '%.(.*)$'), code = answer.code,
        message = answer.message, request_id = answer.request_id,
    }))
    note_probe(lane)
    held[#held + 1] = {account, requeue}
    add_lane_event('held', lane, (answer.code or 'the key is refused') .. ': the jobs of ' .. account .. ' wait, and one is '
        .. 'called a minute; requeue those that ended: ' .. requeue)
end

-- Count a call whose key the vendor refused. Return for how many µs the job waits again; nil: it ends.
local function count_refusal(lane, job)
    local account = account_of(lane)
    local count, slot, grace = refusals_of(account)
    local was_held = is_held(account)
    count = was_held and math.max(count or 0, MOST_REFUSED) or count or 0
    grace = grace or 0
    if count == 0 then add_lane_event('key_refused', lane, code_of(job)) end
    write_refusals(account, count + 1, math.max(slot or 0, job.slot), grace)
    if count + 1 >= MOST_REFUSED and not was_held then hold(lane, account, job.error or {}) end
    if count >= MOST_REFUSED then return 0 end
    if grace > now and grace <= now + GRACE then return GRACE_DELAY end
end

-- Take note of an answer that shows that the vendor accepts the account's key.
local function note_good_key(lane, job)
    local account = account_of(lane)
    local count, slot, grace = refusals_of(account)
    if not count and lane.held == 0 or job.slot <= (slot or 0) then return end      -- called before the latest refusal
    local was_held = is_held(account)
    if was_held then
        begin_writing()
        change_controls('HDEL', 'hold ' .. account)
        released[#released + 1] = account
        add_lane_event('released', lane, 'the vendor accepts the key of ' .. account .. ' again')
    end
    if was_held or count and count >= MOST_REFUSED then
        write_refusals(account, 0, slot or 0, now + GRACE)
    elseif count and count > 0 and grace > now and grace <= now + GRACE then
        write_refusals(account, 0, slot, grace)
    elseif count and (count > 0 or grace <= now or grace > now + GRACE) then
        refused[account] = nil
        begin_writing()
        redis.call('HDEL', REFUSED, account, account .. ':probe')
    end
end

-- Let a job whose call was refused wait again: at the front of its lane, or deferred by `delay` µs.
local function return_refused(lane, job, delay)
    local message = redis.call('HGET', lane.jobs, job.id)
    begin_writing()
    if delay > 0 then
        redis.call('ZADD', lane.due_key, integer(now + delay), job.id)
        redis.call('HDEL', lane.jobs, job.id .. ':owner')
        redis.call('HSET', lane.jobs, job.id .. ':tries', job.if_held)
        redis.call('ZREM', lane.leases, job.id)
        if lane.due == 0 or now + delay < lane.due then set(lane, 'due', now + delay) end
    else
        if message then push_to_front(lane, message, job.if_held) end
        remove_job(lane, job.id)
    end
    lane.changes = true
end
