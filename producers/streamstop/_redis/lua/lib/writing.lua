--! const ABSENT
-- Scripts that must run while Redis is over its memory limit.

local has_written = false           -- whether this run has changed anything

-- Over its memory limit, Redis refuses every command of a script that could need memory, unless the script has already
-- changed something. Accepted jobs must go on. So a script that serves them begins with a change that needs no memory.
local function begin_writing()
    if not has_written then redis.call('DEL', ABSENT) end
    has_written = true
end
