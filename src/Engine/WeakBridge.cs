using System;
using System.IO;
using System.Security.Cryptography;

namespace AdvContrast.Engine;

/// <summary>
/// A copy of TorchSharp's library for Linux with a libstdc++ older than GCC 13's, in the user's cache.
/// </summary>
/// <remarks>
/// The library requires the version GLIBCXX_3.4.32 for one symbol, std::ios_base_library_init, which no relocation
/// uses. The copy marks that version as weak, so the loader accepts a libstdc++ without it.
/// </remarks>
internal static class WeakBridge
{
    private const string NewestVersion = "GLIBCXX_3.4.32";

    /// <summary>The path of the copy, which is written where it is missing.</summary>
    /// <param name="path">The library of the package, which is left as it is.</param>
    /// <exception cref="LibTorchException">The library is not as expected, or no folder can be written.</exception>
    internal static string Copy(string path)
    {
        try
        {
            var bytes = File.ReadAllBytes(path);
            var folder = Path.Combine(UserCache.Folder, Convert.ToHexString(SHA256.HashData(bytes)));
            var copy = Path.Combine(folder, Path.GetFileName(path));
            if (File.Exists(copy)) return copy;
            ElfFile.WeakenVersion(bytes, NewestVersion);
            Directory.CreateDirectory(folder);
            var part = Path.Combine(folder, $"{Guid.NewGuid():N}.part");
            File.WriteAllBytes(part, bytes);
            File.Move(part, copy, overwrite: true);
            return copy;
        }
        catch (InvalidDataException e)
        {
            throw new LibTorchException(
                $"{path} cannot be loaded by this system's libstdc++, and not be adapted to it: {e.Message}. Use "
                + "Debian 13, Ubuntu 24.04 or newer, or the TorchSharp package that AdvContrast names.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new LibTorchException(
                $"a copy of {path} for this system's libstdc++ cannot be written: {e.Message} Set XDG_CACHE_HOME to a "
                + "folder that can be written.", e);
        }
    }
}
