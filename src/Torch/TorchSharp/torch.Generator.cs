using System;
using AdvContrast.Torch.Binding;

namespace TorchSharp;

public static partial class torch
{
    /// <summary>Seeds the default generators of all devices.</summary>
    public static Generator manual_seed(long seed) => random.manual_seed(seed);

    public static long seed() => random.seed();
    public static long initial_seed() => random.initial_seed();
    public static Tensor get_rng_state() => random.get_rng_state();
    public static void set_rng_state(Tensor new_state) => random.set_rng_state(new_state);

    /// <summary>The CPU's default generator.</summary>
    public static class random
    {
        public static Generator manual_seed(long seed)
        {
            if (cuda.is_available()) cuda.manual_seed_all(seed);
            return Generator.Default.manual_seed(seed);
        }

        public static long seed() => Generator.Default.seed();
        public static long initial_seed() => Generator.Default.initial_seed();
        public static Tensor get_rng_state() => Generator.Default.get_state();
        public static void set_rng_state(Tensor new_state) => Generator.Default.set_state(new_state);
    }

    /// <summary>A source of random numbers with a state of its own.</summary>
    public class Generator : IDisposable
    {
        private nint handle;

        public Generator(ulong seed = 0, Device? device = null)
        {
            this.device = device ?? CPU;
            handle = NativeMethods.Check(
                NativeMethods.adv_generator_new((int)this.device.type, this.device.index, seed));
        }

        private Generator(Device device, nint handle)
        {
            this.device = device;
            this.handle = handle;
        }

        ~Generator() => Dispose(false);

        /// <summary>The CPU's default generator.</summary>
        public static Generator Default => OfDevice(CPU);

        public nint Handle
        {
            get
            {
                ObjectDisposedException.ThrowIf(handle == 0, this);
                return handle;
            }
            private set => handle = value;
        }

        public Device device { get; private set; }

        /// <summary>The generator that a device uses where none is named.</summary>
        internal static Generator OfDevice(Device device)
        {
            var found = NativeMethods.adv_generator_default((int)device.type, device.index);
            return new Generator(device, NativeMethods.Check(found));
        }

        public unsafe Tensor get_state()
        {
            nint state;
            NativeMethods.Check(NativeMethods.adv_generator_get_state(Handle, &state));
            GC.KeepAlive(this);
            return Tensor.Adopt(state);
        }

        public void set_state(Tensor value)
        {
            NativeMethods.Check(NativeMethods.adv_generator_set_state(Handle, value.Handle));
            GC.KeepAlive(this);
            GC.KeepAlive(value);
        }

        public Generator manual_seed(long seed)
        {
            NativeMethods.Check(NativeMethods.adv_generator_set_seed(Handle, (ulong)seed));
            return this;
        }

        /// <summary>Seeds it from the system's entropy, and says with what.</summary>
        public long seed() => Seed(renew: true);

        public long initial_seed() => Seed(renew: false);

        public void Dispose()
        {
            Dispose(true);
            GC.SuppressFinalize(this);
        }

        protected virtual void Dispose(bool disposing)
        {
            var owned = System.Threading.Interlocked.Exchange(ref handle, 0);
            if (owned != 0) NativeMethods.adv_generator_free(owned);
        }

        private unsafe long Seed(bool renew)
        {
            ulong seed;
            NativeMethods.Check(NativeMethods.adv_generator_seed(Handle, renew ? 1 : 0, &seed));
            GC.KeepAlive(this);
            return (long)seed;
        }
    }
}
