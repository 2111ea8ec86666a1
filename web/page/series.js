// Losses of very many batches in few buckets, so that a chart of 100,000 batches is as quick as one of 1,000.

const MOST = 512; // buckets, about as many as a chart can show; when they are full, neighbours are joined

/** Each bucket keeps, for each line, the least, the greatest and the sum of its batches. */
export class Series {
    /** @param {number} lines the total and each term */
    constructor(lines) {
        this.lines = lines;
        this.size = 1; // batches a bucket
        this.used = 0; // buckets, the last perhaps not full
        this.count = 0; // batches
        this.first = 0; // the batch that the series begins with
        this.least = new Float32Array(MOST * lines);
        this.most = new Float32Array(MOST * lines);
        this.sum = new Float64Array(MOST * lines);
    }

    /** How many batches bucket k holds. @param {number} k */
    held(k) {
        return Math.min(this.size, this.count - k * this.size);
    }

    /** @param {number[]} values one for each line */
    push(values) {
        if (this.count === MOST * this.size) this.join();
        const k = Math.floor(this.count / this.size);
        const fresh = this.count % this.size === 0;
        for (let line = 0; line < this.lines; line++) {
            const at = k * this.lines + line;
            const value = values[line];
            this.least[at] = fresh ? value : Math.min(this.least[at], value);
            this.most[at] = fresh ? value : Math.max(this.most[at], value);
            this.sum[at] = (fresh ? 0 : this.sum[at]) + value;
        }
        this.used = k + 1;
        this.count += 1;
    }

    /** Joins every two buckets. */
    join() {
        const { lines } = this;
        for (let k = 0; k < MOST / 2; k++) {
            for (let line = 0; line < lines; line++) {
                const [to, a, b] = [k, 2 * k, 2 * k + 1].map((bucket) => bucket * lines + line);
                this.least[to] = Math.min(this.least[a], this.least[b]);
                this.most[to] = Math.max(this.most[a], this.most[b]);
                this.sum[to] = this.sum[a] + this.sum[b];
            }
        }
        this.size *= 2;
        this.used = MOST / 2;
    }

    /** Forgets all but so many batches, or a few less: those of full buckets. @param {number} batches */
    cut(batches) {
        this.used = Math.min(this.used, Math.max(0, Math.floor(batches / this.size)));
        this.count = Math.min(this.count, this.used * this.size);
    }

    /** The mean of a line in a bucket. @param {number} k @param {number} line */
    mean(k, line) {
        return this.sum[k * this.lines + line] / this.held(k);
    }

    /** The batch in the middle of bucket k, counted from the run's first. @param {number} k */
    middle(k) {
        return this.first + k * this.size + this.held(k) / 2;
    }
}
