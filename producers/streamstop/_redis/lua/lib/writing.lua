-- Scripts that must run while Redis is over its memory limit.

local written = false               -- whether this run has changed anything

-- Over its memory limit Redis forbids a script whatever could need more memory, unless the script has changed something
-- before. What is accepted already must go on; so a script that serves it begins with a change that needs none.
local function begin_writing()
    if not written then redis.call('DEL', 'streamstop.work.none') end
    written = true
end
