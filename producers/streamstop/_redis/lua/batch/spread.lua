--! include lib/announce
--! const LANE PRIORITY_SEPARATOR BATCH BATCHES STAGED STAGED_SEEN CONTROL_LANE
--! args id most:int
-- Move the next messages of an accepted batch into their lanes, in the order of staging.
--
-- The batch is the list streamstop.batch.<id> of '<priority step> <lane>\n<message>'. The first is at the right end.
--
-- id       of the batch
-- most     how many messages to move
-- Returns  how many messages are left; at 0 the batch is removed from the accepted batches
local key = BATCH .. id
local entries = redis.call('LRANGE', key, -most, -1)
local lists, messages, lanes, is_listed = {}, {}, {}, {}
for at = #entries, 1, -1 do
    local level, lane, message = string.match(entries[at], '^([0369]) ([^\n]+)\n(.*)$')
    if not level then               -- an entry without a lane is unreadable: a worker keeps it as a dead letter from there
        level, lane, message = '0', CONTROL_LANE, entries[at]
    end
    local list = LANE .. lane .. (level == '0' and '' or PRIORITY_SEPARATOR .. level)
    if not messages[list] then
        redis.call('LLEN', list)    -- a key of another type raises its error before anything is moved
        messages[list] = {}
        lists[#lists + 1] = list
    end
    if not is_listed[lane] then
        is_listed[lane] = true
        lanes[#lanes + 1] = lane
    end
    local of_list = messages[list]
    of_list[#of_list + 1] = message
end
if #entries > 0 then
    -- The first write needs no memory. After it, Redis runs the rest of the script also over its memory limit.
    redis.call('LTRIM', key, 0, -#entries - 1)
    for _, list in ipairs(lists) do
        redis.call('LPUSH', list, unpack(messages[list]))
    end
    announce(unpack(lanes))
end
local left = redis.call('LLEN', key)
if left == 0 then
    redis.call('LREM', BATCHES, 0, id)
    redis.call('SREM', STAGED, id)
    redis.call('HDEL', STAGED_SEEN, id)
end
return left
