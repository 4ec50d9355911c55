-- Move the next messages of an accepted batch into their lanes, in the order in which they were staged.
--
-- The batch is the list streamstop.batch.<id> of '<priority step> <lane>\n<message>', first at the right.
--
-- KEYS     none
-- ARGV[1]  id    of the batch
-- ARGV[2]  most  how many messages to move
-- Returns  how many messages are left; at 0 the batch is no longer among the accepted
local id, most = ARGV[1], tonumber(ARGV[2])
local key = 'streamstop.batch.' .. id
local NOWHERE = 'streamstop.lane._control.room.Steps'

local entries = redis.call('LRANGE', key, -most, -1)
local lists, messages, lanes, seen = {}, {}, {}, {}
for at = #entries, 1, -1 do
    local level, lane, message = string.match(entries[at], '^([0369]) ([^\n]+)\n(.*)$')
    local list = NOWHERE            -- what names no lane is unreadable, and a worker makes a dead letter of it there
    if level then
        list = 'streamstop.lane.' .. lane .. (level == '0' and '' or '\6\22' .. level)
    else
        lane, message = '_control.room.Steps', entries[at]
    end
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
    redis.call('SADD', 'streamstop.arrivals', unpack(lanes))
    if redis.call('LLEN', 'streamstop.wake') == 0 then redis.call('LPUSH', 'streamstop.wake', 1) end
end
local left = redis.call('LLEN', key)
if left == 0 then
    redis.call('LREM', 'streamstop.batches', 0, id)
    redis.call('SREM', 'streamstop.staged', id)
    redis.call('HDEL', 'streamstop.work.staged', id)
end
return left
