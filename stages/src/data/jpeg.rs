//! Finds damage in a JPEG that decoders forgive: they fill what is missing with grey and say nothing.
//!
//! A JPEG has no checksum, but its Huffman codes must give exactly as many blocks as the image has and end with the
//! data. Walking them (ITU-T T.81, annexes B and F) finds files that were cut off, and most that were overwritten.
//! Decodes no pixel. The data of progressive and arithmetic files is only walked from marker to marker.

/// A Huffman table in the canonical form of T.81, annex C: for each code length the first code and its symbols.
#[derive(Clone, Default)]
struct Table {
    counts: [u16; 16],
    symbols: Vec<u8>,
}

/// A component of the frame.
struct Component {
    id: u8,
    across: usize,
    down: usize,
}

/// What a scan's data depends on.
#[derive(Default)]
struct Frame {
    /// Sequential with Huffman codes: the only kind whose data is walked.
    sequential: bool,
    height: usize,
    width: usize,
    components: Vec<Component>,
    /// DC tables, then AC tables.
    tables: [[Option<Table>; 4]; 2],
    restart_interval: usize,
}

/// Checks the file up to its end-of-image marker.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut frame = Frame::default();
    let mut at = 2;
    loop {
        if *bytes.get(at).ok_or_else(cut_off)? != 0xff {
            return Err(format!("no marker at byte {at}"));
        }
        let marker = *bytes.get(at + 1).ok_or_else(cut_off)?;
        at += match marker {
            // A marker may be preceded by any number of fill bytes.
            0xff => 1,
            0xd9 => return Ok(()),
            0x01 | 0xd0..=0xd7 => 2,
            _ => {
                let length = bytes.get(at + 2..at + 4).ok_or_else(cut_off)?;
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                let segment = bytes.get(at + 4..at + 2 + length).ok_or_else(cut_off)?;
                2 + length
                    + if marker == 0xda {
                        let data = &bytes[at + 2 + length..];
                        let end = end_of_scan(data).ok_or_else(cut_off)?;
                        frame.scan(segment, &data[..end])?;
                        end
                    } else {
                        frame.segment(marker, segment).ok_or_else(|| format!("bad segment at byte {at}"))?;
                        0
                    }
            }
        };
    }
}

fn cut_off() -> String {
    "the file ends before its end-of-image marker".to_owned()
}

/// The length of the entropy-coded data: stuffed zeros and restart markers belong to it.
fn end_of_scan(data: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += data.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        match data.get(at + 1)? {
            0x00 | 0xd0..=0xd7 => at += 2,
            _ => return Some(at),
        }
    }
}

impl Frame {
    /// Reads a segment that a scan depends on; nothing when it is too short or out of range.
    fn segment(&mut self, marker: u8, segment: &[u8]) -> Option<()> {
        match marker {
            0xc4 => self.huffman_tables(segment),
            0xc0..=0xc3 | 0xc5..=0xcf if !matches!(marker, 0xc8 | 0xcc) => {
                let &[_, h1, h0, w1, w0, _, ref components @ ..] = segment else { return None };
                self.sequential = matches!(marker, 0xc0 | 0xc1);
                (self.height, self.width) =
                    (usize::from(u16::from_be_bytes([h1, h0])), usize::from(u16::from_be_bytes([w1, w0])));
                self.components = components
                    .chunks_exact(3)
                    .map(|c| Component { id: c[0], across: usize::from(c[1] >> 4), down: usize::from(c[1] & 15) })
                    .collect();
                self.components.iter().all(|c| (1..=4).contains(&c.across) && (1..=4).contains(&c.down)).then_some(())
            }
            0xdd => {
                let &[high, low] = segment else { return None };
                self.restart_interval = usize::from(u16::from_be_bytes([high, low]));
                Some(())
            }
            _ => Some(()),
        }
    }

    fn huffman_tables(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&place, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_at_checked(16)?;
            let mut table = Table::default();
            for (count, &byte) in table.counts.iter_mut().zip(counts) {
                *count = u16::from(byte);
            }
            let (symbols, rest) = rest.split_at_checked(counts.iter().map(|&count| usize::from(count)).sum())?;
            table.symbols = symbols.to_vec();
            *self.tables.get_mut(usize::from(place >> 4))?.get_mut(usize::from(place & 15))? = Some(table);
            segment = rest;
        }
        Some(())
    }

    /// Walks the codes of a scan, restart interval by restart interval.
    fn scan(&self, header: &[u8], data: &[u8]) -> Result<(), String> {
        if !self.sequential {
            return Ok(());
        }
        let (units, blocks) = self.scan_layout(header).ok_or("bad scan header")?;
        let mut intervals = split_at_restarts(data).into_iter();
        let interval_units = if self.restart_interval == 0 { units } else { self.restart_interval };
        let mut left = units;
        while left > 0 {
            let here = left.min(interval_units);
            let mut bits = Bits { bytes: intervals.next().ok_or("a restart interval is missing")?, read: 0 };
            for _ in 0..here {
                for (dc, ac) in &blocks {
                    skip_block(&mut bits, dc, ac).ok_or("damaged data, or data is missing")?;
                }
            }
            // The last byte is filled up.
            if bits.bytes.len() * 8 - bits.read >= 8 {
                return Err("damaged data: more follows after the last block".to_owned());
            }
            left -= here;
        }
        if intervals.next().is_some() { Err("too many restart intervals".to_owned()) } else { Ok(()) }
    }

    /// How many units a scan holds, and the DC and AC table of each block of a unit.
    fn scan_layout(&self, header: &[u8]) -> Option<(usize, Vec<(&Table, &Table)>)> {
        let (&count, rest) = header.split_first()?;
        let mut chosen = Vec::new();
        for pair in rest.get(..usize::from(count) * 2)?.chunks_exact(2) {
            let component = self.components.iter().find(|component| component.id == pair[0])?;
            let table = |kind: usize, place: u8| self.tables[kind].get(usize::from(place))?.as_ref();
            chosen.push((component, table(0, pair[1] >> 4)?, table(1, pair[1] & 15)?));
        }
        let most = |of: fn(&Component) -> usize| self.components.iter().map(of).max().unwrap_or(1);
        let (most_across, most_down) = (most(|c| c.across), most(|c| c.down));
        if let [(component, dc, ac)] = chosen[..] {
            // A scan of one component has no padding to whole groups of blocks.
            let blocks = |size: usize, part: usize, most: usize| (size * part).div_ceil(most).div_ceil(8);
            let units =
                blocks(self.width, component.across, most_across) * blocks(self.height, component.down, most_down);
            return Some((units, vec![(dc, ac)]));
        }
        let units = self.width.div_ceil(8 * most_across) * self.height.div_ceil(8 * most_down);
        let blocks = chosen.iter().flat_map(|&(component, dc, ac)| vec![(dc, ac); component.across * component.down]);
        Some((units, blocks.collect()))
    }
}

/// The data between restart markers, without stuffed zeros.
fn split_at_restarts(data: &[u8]) -> Vec<Vec<u8>> {
    let mut intervals = vec![Vec::new()];
    let mut bytes = data.iter();
    while let Some(&byte) = bytes.next() {
        let stuffed = if byte == 0xff { bytes.next() } else { None };
        match (stuffed, intervals.last_mut()) {
            (Some(0xd0..=0xd7), _) => intervals.push(Vec::new()),
            (_, Some(interval)) => interval.push(byte),
            (_, None) => {}
        }
    }
    intervals
}

/// Bits of an interval, highest first.
struct Bits {
    bytes: Vec<u8>,
    read: usize,
}

impl Bits {
    fn next(&mut self) -> Option<u16> {
        let byte = self.bytes.get(self.read / 8)?;
        let bit = byte >> (7 - self.read % 8) & 1;
        self.read += 1;
        Some(u16::from(bit))
    }

    fn skip(&mut self, bits: u8) -> Option<()> {
        self.read += usize::from(bits);
        (self.read <= self.bytes.len() * 8).then_some(())
    }

    fn symbol(&mut self, table: &Table) -> Option<u8> {
        let (mut code, mut first, mut index) = (0_u16, 0_u16, 0_u16);
        for &count in &table.counts {
            code |= self.next()?;
            if let Some(offset) = code.checked_sub(first)
                && offset < count
            {
                return table.symbols.get(usize::from(index + offset)).copied();
            }
            index += count;
            first = first.wrapping_add(count).wrapping_mul(2);
            code = code.wrapping_mul(2);
        }
        None
    }
}

/// Skips the codes of one block of 64 coefficients.
fn skip_block(bits: &mut Bits, dc: &Table, ac: &Table) -> Option<()> {
    let size = bits.symbol(dc)?;
    if size > 15 {
        return None;
    }
    bits.skip(size)?;
    let mut place = 1;
    while place < 64 {
        let symbol = bits.symbol(ac)?;
        let (zeros, size) = (symbol >> 4, symbol & 15);
        match (zeros, size) {
            (15, 0) => place += 16,
            (_, 0) => return Some(()),
            _ => {
                place += zeros + 1;
                bits.skip(size)?;
            }
        }
    }
    (place == 64).then_some(())
}
