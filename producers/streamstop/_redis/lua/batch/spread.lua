--! include lib/announce
--! const LANE PRIORITY_SEPARATOR BATCH BATCHES STAGED STAGED_SEEN CONTROL_LANE
--! args id most:int
-- Move the next messages of an accepted batch into their lanes, in the order in which they were staged.
--
-- The batch is the list streamstop.batch.<id> of '<priority step> <lane>\n<message>', first at the right.
--
-- id       of the batch
-- most     how many messages to move
-- Returns  how many messages are left; at 0 the batch is no longer among the accepted
local key = BATCH .. id
local entries = redis.call('LRANGE', key, -most, -1)
local lists, messages, lanes, seen = {}, {}, {}, {}
for at = #entries, 1, -1 do
    local level, lane, message = string.match(entries[at], '^([0369]) ([^\n]+)\n(.*)$')
    if not level then               -- what names no lane is unreadable, and a worker makes a dead letter of it there
        level, lane, message = '0', CONTROL_LANE, entries[at]
    end
    local list = LANE .. lane .. (level == '0' and '' or PRIORITY_SEPARATOR .. level)
    if not messages[list] then
        redis.call('LLEN', list)    -- an error where it is no list, while nothing is moved yet
        messages[list] = {}
        lists[#lists + 1] = list
    end
    if not seen[lane] then
        seen[lane] = true
        lanes[#lanes + 1] = lane
    end
    local of_list = messages[list]
    of_list[#of_list + 1] = message
end
if #entries > 0 then
    -- First what takes no memory: then Redis takes the rest of the script also where its memory is full.
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
